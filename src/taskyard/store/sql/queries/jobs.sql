-- name: job_group
SELECT number FROM job_groups WHERE workspace = :workspace AND name = :group_name;

-- name: insert_job_group
-- None if somebody else makes it at the same time.
INSERT INTO job_groups (workspace, name, created_at, modified_at)
VALUES (:workspace, :group_name, :now, :now)
ON CONFLICT (workspace, name) DO NOTHING
RETURNING number;

-- name: insert_job_group_word
INSERT INTO job_group_words (workspace, word, group_number)
VALUES (:workspace, :word, :number)
ON CONFLICT DO NOTHING;

-- name: job_added
-- One more job in a group.
UPDATE job_groups SET job_count = job_count + 1, modified_at = :now WHERE number = :number;

-- name: job_groups_page
SELECT name, created_at, modified_at, job_count FROM job_groups
WHERE workspace = :workspace ORDER BY number LIMIT :limit OFFSET :offset;

-- name: job_groups_total
SELECT count(*) FROM job_groups WHERE workspace = :workspace;

-- name: insert_job
-- None if somebody else makes it at the same time.
INSERT INTO jobs (workspace, group_name, id, created_at, modified_at, next_at, recurring, ticket,
                  definition)
VALUES (:workspace, :group_name, :id, :now, :now, :next_at, :recurring, :ticket, :definition)
ON CONFLICT (workspace, group_name, id) DO NOTHING
RETURNING seq;

-- name: replace_job
UPDATE jobs SET modified_at = :now, next_at = :next_at, recurring = :recurring, retry_count = 0,
       ticket = :ticket, definition = :definition
WHERE seq = :seq;

-- name: job_by_id
SELECT {job}
FROM jobs WHERE workspace = :workspace AND group_name = :group_name AND id = :id;

-- name: job_by_seq
SELECT {job}
FROM jobs WHERE seq = :seq;

-- name: jobs_of_group
SELECT id, created_at, modified_at FROM jobs
WHERE workspace = :workspace AND group_name = :group_name ORDER BY modified_at DESC, seq DESC;

-- name: recurring_jobs
SELECT {job}
FROM jobs WHERE workspace = :workspace AND recurring = 1
ORDER BY modified_at DESC, seq DESC LIMIT :limit;

-- name: waiting_jobs
-- Those that start by themselves later, the next one first.
SELECT {job}
FROM jobs WHERE workspace = :workspace AND next_at IS NOT NULL
ORDER BY next_at, seq LIMIT :limit;

-- name: jobs_total
SELECT coalesce(sum(job_count), 0) FROM job_groups WHERE workspace = :workspace;

-- name: delayed_jobs
SELECT count(*), min(next_at) FROM jobs WHERE workspace = :workspace AND next_at IS NOT NULL;

-- name: pending_of_kind
SELECT count(*) FROM webhook_deliveries
WHERE workspace = :workspace AND kind = :kind AND state = 'pending';

-- name: next_due_job
SELECT min(next_at) FROM jobs WHERE next_at IS NOT NULL;

-- name: due_jobs
SELECT {job}
FROM jobs WHERE next_at IS NOT NULL AND next_at <= :now ORDER BY next_at LIMIT :limit;

-- name: move_job_on
-- From the start that was due; none if somebody has moved it on before.
UPDATE jobs SET next_at = :next_at,
       recurring = CASE WHEN CAST(:next_at AS bigint) IS NULL THEN 0 ELSE recurring END
WHERE seq = :seq AND next_at = :was;

-- name: next_execution
UPDATE jobs SET execution_count = execution_count + 1 WHERE seq = :seq RETURNING execution_count;

-- name: insert_execution
INSERT INTO job_executions (job_seq, number, task_seq, address)
VALUES (:job_seq, :number, :task_seq, :address);

-- name: executions_of_job
SELECT e.number, e.address, e.settled,
       {t.task}
FROM job_executions AS e CROSS JOIN tasks AS t
WHERE t.seq = e.task_seq AND e.job_seq = :job_seq ORDER BY e.number DESC LIMIT :limit;

-- name: execution_of_task
SELECT e.number, e.address, e.settled,
       {t.task}, e.job_seq
FROM tasks AS t CROSS JOIN job_executions AS e
WHERE e.task_seq = t.seq AND t.id = :task_id;

-- name: open_executions
-- Executions of a job whose end has not been dealt with.
SELECT t.id, t.state
FROM job_executions AS e CROSS JOIN tasks AS t
WHERE t.seq = e.task_seq AND e.job_seq = :job_seq AND e.settled = 0 ORDER BY e.number;

-- name: last_attempt
SELECT {attempt}
FROM attempts WHERE task_seq = :seq ORDER BY number DESC LIMIT 1;

-- name: settle_execution
UPDATE job_executions SET settled = 1 WHERE task_seq = :task_seq AND settled = 0;

-- name: count_retry
UPDATE jobs SET retry_count = retry_count + 1 WHERE seq = :seq;

-- name: spend_retries
-- No automatic retry follows any more.
UPDATE jobs SET retry_count = :retry_count, modified_at = :now WHERE seq = :seq;

-- name: stop_starting
UPDATE jobs SET next_at = NULL, recurring = 0 WHERE seq = :seq;

-- name: delete_execution_of_task
DELETE FROM job_executions WHERE task_seq = :seq;

-- name: enqueue_message
-- One message in the form of another dialect; one that is there already stays as it is.
INSERT INTO webhook_deliveries
    (id, workspace, task_id, attempt_id, event, url, host, headers, body, state, created_at,
     next_at, kind, policy)
VALUES
    (:id, :workspace, :task_id, NULL, :event, :url, :host, :headers, :body, 'pending', :now, :now,
     :kind, :policy)
ON CONFLICT (id) DO NOTHING;
