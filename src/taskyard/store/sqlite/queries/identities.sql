-- name: workspace_user
-- The user id of a workspace.
SELECT uid FROM workspace_users WHERE workspace = :workspace;

-- name: add_workspace_user!
-- Gives a workspace the next user id, unless it has one or there is none left.
INSERT INTO workspace_users (workspace, uid)
SELECT :workspace, next FROM (
    SELECT max(:first, coalesce(max(uid) + 1, :first)) AS next FROM workspace_users
)
WHERE next <= :last
ON CONFLICT (workspace) DO NOTHING;
