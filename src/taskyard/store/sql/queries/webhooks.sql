-- name: enqueue
-- One message; one that is there already stays as it is.
INSERT INTO webhook_deliveries
    (id, workspace, task_id, attempt_id, event, url, host, headers, body, state, created_at, next_at)
VALUES
    (:id, :workspace, :task_id, :attempt_id, :event, :url, :host, :headers, :body, 'pending',
     :now, :now)
ON CONFLICT (id) DO NOTHING;

-- name: claim
-- Nobody else finds it due until then; none if somebody else was faster. Only what is pending has a
-- next try, so that the state needs no look: it would have all that are due walked through for one.
UPDATE webhook_deliveries SET next_at = :until
WHERE id = :id AND next_at <= :now;

-- name: next_due
-- When the next message becomes due after now.
SELECT min(next_at) FROM webhook_deliveries WHERE state = 'pending' AND next_at > :now;

-- name: pending_number
-- The number and the tries so far of a pending message.
SELECT number, attempt_count FROM webhook_deliveries WHERE id = :id AND next_at IS NOT NULL;

-- name: record_result
-- What a try led to.
UPDATE webhook_deliveries SET
    state = :state, next_at = :next_at, delivered_at = :delivered_at,
    attempt_count = attempt_count + 1, failed_tries = failed_tries + 1,
    last_status = :status, last_error = :error
WHERE number = :number;

-- name: insert_try
-- One try.
INSERT INTO webhook_tries (delivery, number, at, duration_ms, status, error, answer, headers)
VALUES (:delivery, :number, :at, :duration_ms, :status, :error, :answer, :headers);

-- name: trim_tries
-- Drops all tries up to a number.
DELETE FROM webhook_tries WHERE delivery = :delivery AND number <= :number;

-- name: redeliver
-- Pending and due again, with all tries granted again.
UPDATE webhook_deliveries
SET state = 'pending', next_at = :now, delivered_at = NULL, failed_tries = 0
WHERE workspace = :workspace AND id = :id;

-- name: delivery
-- One message of this workspace.
SELECT {delivery}
FROM webhook_deliveries WHERE workspace = :workspace AND id = :id;

-- name: deliveries
-- A page of a workspace's messages, newest first.
SELECT {delivery}
FROM webhook_deliveries WHERE workspace = :workspace AND number < :before
ORDER BY number DESC LIMIT :limit;

-- name: deliveries_in_state
-- The same, those in one state.
SELECT {delivery}
FROM webhook_deliveries WHERE workspace = :workspace AND state = :state AND number < :before
ORDER BY number DESC LIMIT :limit;

-- name: deliveries_of_task
-- The messages about one task, oldest first.
SELECT {delivery}
FROM webhook_deliveries WHERE task_id = :task_id AND workspace = :workspace
ORDER BY number LIMIT :limit;

-- name: tries
-- The tries of one message, oldest first.
SELECT at, duration_ms, status, error, answer FROM webhook_tries
WHERE delivery = :delivery ORDER BY number;

-- name: dispatches_of_task
-- The latest tries at plain messages about one task, newest first, with both sides of the exchange;
-- what was asked is left out where it was answered well.
SELECT t.at, d.url, t.status, t.error, d.headers, CASE WHEN t.error IS NOT NULL THEN d.body END, t.headers,
    t.answer
FROM webhook_deliveries AS d CROSS JOIN webhook_tries AS t
WHERE t.delivery = d.number AND d.task_id = :task_id AND d.workspace = :workspace AND d.kind = 'plain'
ORDER BY t.at DESC, d.number DESC, t.number DESC LIMIT :limit;

-- name: forget_tries
-- Removes the tries of all messages about a task.
DELETE FROM webhook_tries WHERE delivery IN (
    SELECT number FROM webhook_deliveries WHERE task_id = :task_id
);

-- name: forget_deliveries
-- Removes all messages about a task.
DELETE FROM webhook_deliveries WHERE task_id = :task_id;

-- name: signing_key
-- The sealed signing key of a workspace.
SELECT value FROM webhook_keys WHERE workspace = :workspace;

-- name: add_signing_key
-- Keeps a key unless there is one already.
INSERT INTO webhook_keys (workspace, value, created_at) VALUES (:workspace, :value, :now)
ON CONFLICT (workspace) DO NOTHING;
