-- name: groups_page
-- A group whose tasks are gone may have rows of several writers left that add up to nothing.
SELECT n.name, coalesce(g.paused, 0), g.concurrency_limit
FROM (SELECT group_name AS name FROM {{kept.task_counts}} AS counted
      WHERE workspace = :workspace AND group_name > :after
      GROUP BY group_name HAVING sum(total) > 0
      UNION SELECT name FROM groups WHERE workspace = :workspace AND name > :after
      ORDER BY 1 LIMIT :limit) AS n
LEFT JOIN groups AS g ON g.workspace = :workspace AND g.name = n.name
ORDER BY n.name;
