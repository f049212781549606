-- name: workspace_user
-- The user id of a workspace.
SELECT uid FROM workspace_users WHERE workspace = :workspace;

-- name: add_workspace_user
-- Gives a workspace the next user id, unless it has one or there is none left.
INSERT INTO workspace_users (workspace, uid)
SELECT :workspace, free FROM (
    SELECT CASE WHEN max(uid) >= :first THEN max(uid) + 1 ELSE :first END AS free FROM workspace_users
) AS uids
WHERE free <= :last
ON CONFLICT (workspace) DO NOTHING;

-- name: workspaces
-- Every workspace with a valid token, a user, a task or a function; and whether it has functions
-- that no container holds.
SELECT workspace, max(functions) FROM (
    SELECT workspace, 0 AS functions FROM tokens
    WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
    UNION ALL SELECT workspace, 0 FROM users
    UNION ALL SELECT workspace, 0 FROM {{kept.task_counts}} GROUP BY workspace HAVING sum(total) > 0
    UNION ALL SELECT workspace, CASE WHEN language <> :image THEN 1 ELSE 0 END
    FROM functions WHERE deleted_at IS NULL
) AS found
WHERE workspace <> :installation
GROUP BY workspace;
