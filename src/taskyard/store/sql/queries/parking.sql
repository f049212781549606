-- name: park
-- Puts an entry aside, or notes that it failed once more: the time since when stays, and so does
-- the moment at which it was due at first.
INSERT INTO parked (kind, key, workspace, reason, since, retry_at, due_at)
VALUES (:kind, :key, :workspace, :reason, :now, :retry_at, :due_at)
ON CONFLICT (kind, key) DO UPDATE SET reason = excluded.reason, retry_at = excluded.retry_at
RETURNING since = :now;

-- name: readmit
-- The entry is dealt with again; answers with the moment at which it was due at first.
DELETE FROM parked WHERE kind = :kind AND key = :key RETURNING due_at;

-- name: parked
SELECT kind, key, workspace, reason, since, retry_at FROM parked
WHERE workspace = :workspace ORDER BY since, kind, key LIMIT :limit;

-- name: park_task
UPDATE tasks SET start_at = :retry_at, message = :reason WHERE id = :key AND state = 'scheduled';

-- name: park_job
UPDATE jobs SET next_at = :retry_at WHERE seq = :key AND next_at IS NOT NULL;

-- name: park_schedule
UPDATE catalogue SET due_at = :retry_at WHERE kind = 'schedule' AND id = :key AND due_at IS NOT NULL;

-- name: park_delivery
UPDATE webhook_deliveries SET next_at = :retry_at, last_error = :reason
WHERE id = :key AND next_at IS NOT NULL;

-- name: any_parked
SELECT 1 FROM parked LIMIT 1;

-- name: retry_tasks
-- At each start everything is tried at once: what was missing may be there again. The moment since
-- when it is parked has passed, and tells more than the start's.
UPDATE tasks SET start_at = (SELECT since FROM parked WHERE kind = 'task' AND key = tasks.id)
WHERE state = 'scheduled' AND id IN (SELECT key FROM parked WHERE kind = 'task');

-- name: retry_jobs
UPDATE jobs SET next_at = (SELECT since FROM parked WHERE kind = 'job' AND key = CAST(seq AS TEXT))
WHERE next_at IS NOT NULL AND seq IN (SELECT CAST(key AS BIGINT) FROM parked WHERE kind = 'job');

-- name: retry_schedules
UPDATE catalogue
SET due_at = (SELECT since FROM parked WHERE kind = 'schedule' AND key = catalogue.id)
WHERE kind = 'schedule' AND due_at IS NOT NULL
  AND id IN (SELECT key FROM parked WHERE kind = 'schedule');

-- name: retry_deliveries
UPDATE webhook_deliveries
SET next_at = (SELECT since FROM parked WHERE kind = 'delivery' AND key = webhook_deliveries.id)
WHERE state = 'pending' AND id IN (SELECT key FROM parked WHERE kind = 'delivery');

-- name: forget_others
-- Entries without a time of their own are noted again if they fail again.
DELETE FROM parked WHERE kind IN ('trigger', 'attempt');
