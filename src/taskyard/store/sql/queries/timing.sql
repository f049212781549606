-- name: shift_tasks
-- Waits that were counted from a moment which the clock has yet to come to once more.
UPDATE tasks SET start_at = CASE WHEN start_at - :by > :now THEN start_at - :by ELSE :now END
WHERE start_at > :now
  AND (state = 'retrying'
       OR (state = 'scheduled' AND recurring = 0 AND json_valid(spec)
           AND json_extract(spec, '$.starts_after_wait') = 1));

-- name: shift_jobs
UPDATE jobs SET next_at = CASE WHEN next_at - :by > :now THEN next_at - :by ELSE :now END
WHERE next_at > :now AND recurring = 0 AND json_valid(definition)
  AND json_extract(definition, '$.spec.starts_after_wait') = 1;

-- name: shift_deliveries
UPDATE webhook_deliveries
SET next_at = CASE WHEN next_at - :by > :now THEN next_at - :by ELSE :now END
WHERE state = 'pending' AND next_at > :now;

-- name: recurring_tasks
SELECT seq, start_at, spec FROM tasks
WHERE state = 'scheduled' AND recurring = 1 AND start_at > :now;

-- name: set_start
UPDATE tasks SET start_at = :to WHERE seq = :seq AND state = 'scheduled' AND start_at = :was;

-- name: recurring_jobs
SELECT seq, next_at, definition FROM jobs WHERE next_at > :now AND recurring = 1;

-- name: set_job
UPDATE jobs SET next_at = :to WHERE seq = :seq AND next_at = :was;

-- name: schedules
SELECT id, due_at, content FROM catalogue WHERE kind = 'schedule' AND due_at > :now;

-- name: set_schedule
UPDATE catalogue SET due_at = :to WHERE kind = 'schedule' AND id = :seq AND due_at = :was;
