-- What operators watch. PostgreSQL's own statistics, which no table of ours is read for.

-- name: oldest_snapshot
-- Only of this database: vacuum of its tables waits for nobody else.
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::double precision
FROM pg_stat_activity
WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND pid <> pg_backend_pid()
  AND datname = current_database();

-- name: dead_tuples
SELECT relname::text, n_dead_tup
FROM pg_stat_user_tables
WHERE schemaname = current_schema()
  AND relname IN ('tasks', 'attempts', 'events', 'task_counts', 'task_count_shards', 'workers',
                  'planes', 'leadership', 'changes', 'webhook_deliveries')
ORDER BY relname;
