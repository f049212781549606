-- name: insert_entry
INSERT INTO catalogue (kind, id, workspace, function_id, next_id, due_at, content)
VALUES (:kind, :id, :workspace, :function_id, :next_id, :due_at, :content)
ON CONFLICT DO NOTHING;

-- name: update_entry
UPDATE catalogue SET due_at = :due_at, content = :content
WHERE kind = :kind AND id = :id AND workspace = :workspace;

-- name: delete_entry
DELETE FROM catalogue WHERE kind = :kind AND id = :id AND workspace = :workspace;

-- name: delete_entries_of_function
DELETE FROM catalogue
WHERE kind IN ('endpoint', 'trigger', 'schedule') AND seq IN (
    SELECT seq FROM catalogue WHERE function_id = :function_id
    UNION ALL SELECT seq FROM catalogue WHERE next_id = :function_id)
RETURNING kind, id;

-- name: entry_by_id
-- Of any workspace when none is named. What hangs on a deleted function is not there.
SELECT content FROM catalogue AS c
WHERE kind = :kind AND id = :id AND (CAST(:workspace AS text) IS NULL OR workspace = :workspace)
  AND (function_id IS NULL OR EXISTS (
      SELECT 1 FROM functions AS f WHERE f.id = c.function_id AND f.deleted_at IS NULL));

-- name: entries_page
SELECT content FROM catalogue AS c
WHERE workspace = :workspace AND kind = :kind AND (CAST(:function_id AS text) IS NULL OR function_id = :function_id)
  AND (CAST(:zone AS text) IS NULL OR {{timezone}} = :zone)
  AND (function_id IS NULL OR EXISTS (
      SELECT 1 FROM functions AS f WHERE f.id = c.function_id AND f.deleted_at IS NULL))
ORDER BY seq DESC LIMIT :limit OFFSET :offset;

-- name: entries_total
SELECT count(*) FROM catalogue AS c
WHERE workspace = :workspace AND kind = :kind AND (CAST(:function_id AS text) IS NULL OR function_id = :function_id)
  AND (CAST(:zone AS text) IS NULL OR {{timezone}} = :zone)
  AND (function_id IS NULL OR EXISTS (
      SELECT 1 FROM functions AS f WHERE f.id = c.function_id AND f.deleted_at IS NULL));

-- name: entries_oldest_first
SELECT seq, content FROM catalogue
WHERE workspace = :workspace AND kind = :kind AND seq > :after ORDER BY seq LIMIT :limit;

-- name: triggers_of_function
SELECT content, id, workspace FROM catalogue
WHERE function_id = :function_id AND kind = 'trigger' ORDER BY seq;

-- name: followed_functions
SELECT DISTINCT function_id FROM catalogue WHERE function_id IS NOT NULL AND kind = 'trigger';

-- name: entries_due
SELECT due_at, content, id, workspace FROM catalogue
WHERE due_at <= :now ORDER BY due_at LIMIT :limit;

-- name: next_due_entry
SELECT min(due_at) FROM catalogue WHERE due_at IS NOT NULL;

-- name: move_due
UPDATE catalogue SET due_at = :to WHERE kind = 'schedule' AND id = :id AND workspace = :workspace AND due_at = :was;

-- name: began_at_of_version
SELECT began_at FROM function_versions WHERE function_id = :function_id AND number = :number;

-- name: pending_builds
SELECT count(*) FROM function_versions AS v JOIN functions AS f ON f.id = v.function_id
WHERE v.state IN ('pending', 'building') AND f.workspace = :workspace AND f.deleted_at IS NULL;

-- name: insert_call
-- Nothing is left to settle if nothing follows the end of this function's calls. None if the id is
-- taken, in whichever workspace.
INSERT INTO issued_calls (seq, id, workspace, function_id, issued_at, endpoint_id, trigger_id,
                          schedule_id, links, limits, settled)
VALUES (:seq, :id, :workspace, :function_id, :issued_at, :endpoint_id, :trigger_id, :schedule_id,
        :links, :limits, CASE WHEN EXISTS (
            SELECT 1 FROM catalogue WHERE function_id = :function_id AND kind = 'trigger')
        THEN 0 ELSE 1 END)
ON CONFLICT (id) DO NOTHING;

-- name: unsettle
-- A trigger is new: calls that have not ended have something to settle.
UPDATE issued_calls SET settled = 0 WHERE settled = 1 AND function_id = :function_id AND seq IN (
    SELECT seq FROM tasks
    WHERE workspace = :workspace AND state IN ('scheduled', 'queued', 'running', 'retrying'));

-- name: settle
UPDATE issued_calls SET settled = 1 WHERE id = :id AND settled = 0;

-- name: delete_call_of_task
DELETE FROM issued_calls WHERE seq = :seq;

-- name: use_once
INSERT INTO call_counters (key, period, total) VALUES ('used:' || CAST(:name AS text), :until, 1)
ON CONFLICT (key) DO NOTHING;

-- name: forget_used
DELETE FROM call_counters WHERE key >= 'used:' AND key < 'used;' AND period < :today;

-- name: count_removed_call
-- What is not kept any more still counts: by the day it was issued on, until that is long ago.
INSERT INTO call_counters (key, period, total)
SELECT scope || substr('0000', length(day)) || day, substr('0000', length(day)) || day, 1 FROM (
    SELECT 'removed:workspace:' || workspace || ':' AS scope, CAST(issued_at / 86400000000 AS text) AS day
    FROM issued_calls WHERE seq = :seq
    UNION ALL
    SELECT 'removed:function:' || function_id || ':', CAST(issued_at / 86400000000 AS text)
    FROM issued_calls WHERE seq = :seq
    UNION ALL
    SELECT 'removed:endpoint:' || endpoint_id || ':', CAST(issued_at / 86400000000 AS text)
    FROM issued_calls WHERE seq = :seq AND endpoint_id IS NOT NULL) AS removed
WHERE true
ON CONFLICT (key) DO UPDATE SET total = call_counters.total + 1;

-- name: fold_removed_calls
-- Days that no count asks for one by one any more become one row.
INSERT INTO call_counters (key, period, total)
SELECT substr(key, 1, length(key) - length(period)), '', sum(total) FROM call_counters
WHERE key >= 'removed:' AND key < 'removed;' AND period != '' AND period < :before GROUP BY 1
ON CONFLICT (key) DO UPDATE SET total = call_counters.total + excluded.total;

-- name: forget_folded_calls
DELETE FROM call_counters
WHERE key >= 'removed:' AND key < 'removed;' AND period != '' AND period < :before;

-- name: removed_calls
SELECT coalesce(sum(total) FILTER (WHERE period >= :today), 0),
       coalesce(sum(total) FILTER (WHERE period >= :week), 0), coalesce(sum(total), 0)
FROM call_counters WHERE key >= :scope || ':' AND key < :scope || ';';

-- name: call_views
-- The head of every look at calls; the conditions follow.
SELECT c.seq, c.id, c.workspace, c.function_id, c.issued_at, c.endpoint_id, c.trigger_id,
       c.schedule_id, c.links, c.limits, t.id, t.state, t.reason, t.message, t.finished_at,
       (SELECT min(a.assigned_at) FROM attempts AS a WHERE a.task_seq = c.seq),
       (SELECT a.worker_id FROM attempts AS a WHERE a.task_seq = c.seq
        ORDER BY a.number DESC LIMIT 1),
       (SELECT count(a.started_at) FROM attempts AS a WHERE a.task_seq = c.seq),
       (SELECT max(a.progress) FROM attempts AS a WHERE a.task_seq = c.seq),
       (SELECT r.status FROM attempts AS a LEFT JOIN call_results AS r ON r.attempt_id = a.id
        WHERE a.task_seq = c.seq ORDER BY a.number DESC LIMIT 1)
FROM issued_calls AS c JOIN tasks AS t ON t.seq = c.seq;

-- name: call_by_id
{{call_views}} WHERE c.id = :id;

-- name: behind
-- The page of calls behind one of them.
(c.issued_at, c.seq) > (:issued_at, :seq) ORDER BY c.issued_at, c.seq LIMIT :limit OFFSET :offset;

-- name: calls_of_workspace
{{call_views}} WHERE c.workspace = :workspace AND {{behind}};

-- name: calls_of_function
-- What is appended keeps the index of workspaces out of it.
{{call_views}} WHERE c.function_id = :function_id AND c.workspace || '' = :workspace AND {{behind}};

-- name: unsettled_calls
{{call_views}} WHERE c.settled = 0 AND c.seq > :after AND t.finished_at IS NOT NULL
ORDER BY c.seq LIMIT :limit;

-- name: calls_since
SELECT count(*) FROM issued_calls
WHERE issued_at >= :since AND workspace = :workspace
  AND (CAST(:function_id AS text) IS NULL OR function_id = :function_id)
  AND (CAST(:endpoint_id AS text) IS NULL OR endpoint_id = :endpoint_id);

-- name: calls_since_of_function
SELECT count(*) FROM issued_calls WHERE function_id = :function_id AND issued_at >= :since;

-- name: calls_since_of_endpoint
SELECT count(*) FROM issued_calls WHERE endpoint_id = :endpoint_id AND issued_at >= :since;

-- name: calls_open
SELECT count(*) FROM tasks AS t CROSS JOIN issued_calls AS c
WHERE c.seq = t.seq AND t.workspace = :workspace AND t.state IN ('scheduled', 'queued', 'running', 'retrying')
  AND (CAST(:function_id AS text) IS NULL OR c.function_id = :function_id)
  AND (CAST(:endpoint_id AS text) IS NULL OR c.endpoint_id = :endpoint_id);

-- name: counter
SELECT total FROM call_counters WHERE key = :key AND period = :period;

-- name: count_up
-- One more in a period, unless there are as many as may be.
INSERT INTO call_counters (key, period, total) SELECT :key, :period, 1 WHERE CAST(:most AS bigint) > 0
ON CONFLICT (key) DO UPDATE SET period = excluded.period,
    total = CASE WHEN call_counters.period = excluded.period THEN call_counters.total + 1 ELSE 1 END
WHERE call_counters.period <> excluded.period OR call_counters.total < :most;
