-- name: owed
-- Executions that began or ended and have not been dealt with to the end.
SELECT e.task_seq, t.id
FROM job_executions AS e INDEXED BY job_executions_unsettled
CROSS JOIN tasks AS t ON t.seq = e.task_seq
WHERE e.settled = 0 AND e.task_seq > :after
  AND (t.state = 'running' OR t.finished_at IS NOT NULL)
ORDER BY e.task_seq LIMIT :limit;

-- name: job_groups_found
-- Groups whose name has any of the words.
SELECT name, created_at, modified_at, job_count FROM job_groups
WHERE number IN (SELECT group_number FROM job_group_words
                 WHERE workspace = :workspace
                   AND word IN (SELECT value FROM json_each(:words)))
ORDER BY number LIMIT :limit OFFSET :offset;

-- name: job_groups_found_total
SELECT count(DISTINCT group_number) FROM job_group_words
WHERE workspace = :workspace AND word IN (SELECT value FROM json_each(:words));
