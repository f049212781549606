-- name: enqueue
-- One message; one that is there already stays as it is.
INSERT INTO webhook_deliveries
    (id, workspace, task_id, attempt_id, event, url, host, headers, body, state, created_at, next_at)
VALUES
    (:id, :workspace, :task_id, :attempt_id, :event, :url, :host, :headers, :body, 'pending',
     :now, :now)
ON CONFLICT (id) DO NOTHING;

-- name: due
-- Due messages: of each workspace the longest due first, at most :of_host of each host; all
-- workspaces' first ones first. Walks by the index from host to host, and after :hosts of them to the
-- next workspace, so that neither a thousand messages for one slow host nor a workspace with
-- thousands of hosts cost more than a few. So that no host is passed over forever, what a workspace
-- has room for besides goes to its longest due ones of whatever host.
WITH RECURSIVE places (workspace, host, count) AS (
    SELECT * FROM (
        SELECT workspace, host, 1 FROM webhook_deliveries WHERE state = 'pending'
        ORDER BY workspace, host LIMIT 1
    )
    UNION ALL
    SELECT d.workspace, d.host, iif(d.workspace = places.workspace, places.count + 1, 1)
    FROM places CROSS JOIN webhook_deliveries AS d ON d.number = (
        SELECT n.number FROM webhook_deliveries AS n
        WHERE n.state = 'pending' AND (n.workspace, n.host)
            > (places.workspace, iif(places.count < :hosts, places.host, char(1114111)))
        ORDER BY n.workspace, n.host LIMIT 1
    )
),
candidates (number, rest) AS (
    SELECT d.number, 0 FROM places CROSS JOIN webhook_deliveries AS d ON d.number IN (
        SELECT p.number FROM webhook_deliveries AS p
        WHERE p.state = 'pending' AND p.workspace = places.workspace AND p.host = places.host
            AND p.next_at <= :now
        ORDER BY p.next_at LIMIT :of_host
    )
    UNION ALL
    SELECT d.number, 1 FROM places CROSS JOIN webhook_deliveries AS d ON d.number IN (
        SELECT p.number FROM webhook_deliveries AS p
        WHERE p.state = 'pending' AND p.workspace = places.workspace AND p.next_at <= :now
        ORDER BY p.next_at LIMIT :of_workspace
    )
    WHERE places.count = :hosts
),
ranked (number, next_at, place) AS (
    SELECT d.number, d.next_at,
        row_number() OVER (PARTITION BY d.workspace ORDER BY c.rest, d.next_at, d.number)
    FROM (SELECT number, min(rest) AS rest FROM candidates GROUP BY number) AS c
    CROSS JOIN webhook_deliveries AS d ON d.number = c.number
)
SELECT d.id, d.workspace, d.host, d.url, d.headers, d.body, d.failed_tries, d.kind, d.policy
FROM (
    SELECT number, next_at, place FROM ranked WHERE place <= :of_workspace
    ORDER BY place, next_at, number LIMIT :limit
) AS chosen CROSS JOIN webhook_deliveries AS d ON d.number = chosen.number
ORDER BY chosen.place, chosen.next_at, chosen.number;

-- name: next_due
-- When the next message becomes due after now.
SELECT min(next_at) FROM webhook_deliveries WHERE state = 'pending' AND next_at > :now;

-- name: pending_number
-- The number and the tries so far of a pending message.
SELECT number, attempt_count FROM webhook_deliveries WHERE id = :id AND state = 'pending';

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
SELECT t.at, d.url, t.status, t.error, d.headers, iif(t.error IS NULL, x'', d.body), t.headers,
    t.answer
FROM webhook_deliveries AS d CROSS JOIN webhook_tries AS t ON t.delivery = d.number
WHERE d.task_id = :task_id AND d.workspace = :workspace AND d.kind = 'plain'
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
