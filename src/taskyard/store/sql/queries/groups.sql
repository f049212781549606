-- name: groups_page
-- Groups that have a task or a setting, in order of name.
SELECT n.name, coalesce(g.paused, 0), g.concurrency_limit
FROM (SELECT group_name AS name FROM task_counts
      WHERE workspace = :workspace AND group_name > :after
      UNION SELECT name FROM groups WHERE workspace = :workspace AND name > :after
      ORDER BY 1 LIMIT :limit) AS n
LEFT JOIN groups AS g ON g.workspace = :workspace AND g.name = n.name
ORDER BY n.name;

-- name: group_settings
SELECT paused, concurrency_limit FROM groups WHERE workspace = :workspace AND name = :name;

-- name: put_group
INSERT INTO groups (workspace, name, paused, concurrency_limit)
VALUES (:workspace, :name, :paused, :concurrency_limit)
ON CONFLICT (workspace, name)
DO UPDATE SET paused = excluded.paused, concurrency_limit = excluded.concurrency_limit;

-- name: put_workspace
INSERT INTO workspaces (name, concurrency_limit) VALUES (:name, :concurrency_limit)
ON CONFLICT (name) DO UPDATE SET concurrency_limit = excluded.concurrency_limit;

-- name: workspace_limits
SELECT name, concurrency_limit FROM workspaces WHERE concurrency_limit IS NOT NULL;

-- name: limited_groups
SELECT workspace, name, paused, concurrency_limit FROM groups
WHERE paused != 0 OR concurrency_limit IS NOT NULL;
