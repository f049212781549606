-- name: owed
-- Executions that began or ended and have not been dealt with to the end.
SELECT e.task_seq, t.id
FROM job_executions AS e JOIN tasks AS t ON t.seq = e.task_seq
WHERE e.settled = 0 AND e.task_seq > :after
  AND (t.state = 'running' OR t.finished_at IS NOT NULL)
ORDER BY e.task_seq LIMIT :limit;

-- name: job_groups_found
-- Groups whose name has any of the words.
SELECT name, created_at, modified_at, job_count FROM job_groups
WHERE number IN (SELECT group_number FROM job_group_words
                 WHERE workspace = :workspace
                   AND word IN (SELECT jsonb_array_elements_text(:words::text::jsonb)))
ORDER BY number LIMIT :limit OFFSET :offset;

-- name: job_groups_found_total
SELECT count(DISTINCT group_number) FROM job_group_words
WHERE workspace = :workspace AND word IN (SELECT jsonb_array_elements_text(:words::text::jsonb));

-- name: due_jobs
-- Whoever changes one of them at this moment is waited for: what is due afterwards is started.
SELECT {job}
FROM jobs WHERE next_at IS NOT NULL AND next_at <= :now ORDER BY next_at LIMIT :limit
FOR NO KEY UPDATE;
