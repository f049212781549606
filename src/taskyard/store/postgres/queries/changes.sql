-- What each commit changed (see change_log.py).

-- name: append
INSERT INTO changes (at, data)
VALUES ((extract(epoch FROM clock_timestamp()) * 1000000)::bigint, :data);

-- name: use_indexes
-- And have them planned once: what is read takes less time than a plan.
SELECT set_config('enable_seqscan', 'off', false),
       set_config('plan_cache_mode', 'force_generic_plan', false);

-- name: snapshot
-- What a reader sees now, and the time.
SELECT pg_current_snapshot()::text, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- name: after
-- What a reader sees now and did not see with an earlier snapshot: of transactions that began since
-- (``ceiling``), and of those that ran then (``running``). With ``target``, only what was seen with
-- that one. Two branches, so that each is a range of one index; sums, so that no table is walked along
-- its positions in the hope of finding some soon.
SELECT n.snapshot::text, n.at, c.position, c.at, c.data
FROM (SELECT pg_current_snapshot() AS snapshot,
             (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS at) AS n
LEFT JOIN LATERAL (
    SELECT u.position, u.at, u.data FROM (
        SELECT position, at, data, xid FROM changes WHERE xid >= (:ceiling)::text::xid8
        UNION ALL
        SELECT position, at, data, xid FROM changes
        WHERE xid = ANY (string_to_array(:running, ',')::xid8[])
    ) AS u
    WHERE u.position + 0 > :position
      AND pg_visible_in_snapshot(u.xid, coalesce((:target)::text::pg_snapshot, n.snapshot))
    ORDER BY u.position + 0 LIMIT :limit
) AS c ON true
ORDER BY c.position;

-- name: prune
-- Old ones among the first few.
DELETE FROM changes WHERE position IN (
    SELECT position FROM (SELECT position, at FROM changes ORDER BY position LIMIT :limit) AS first
    WHERE at < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - :kept_us
);
