-- Counters that nearly every commit changes. Each connection that writes has rows of its own, so that
-- two writers never wait for each other; a count is the sum of all. Retention adds them up into the
-- tables that have no writers, where a copy of the store finds them.

CREATE TABLE task_count_shards (
    workspace  text COLLATE "C" NOT NULL,
    group_name text COLLATE "C" NOT NULL,
    state      text COLLATE "C" NOT NULL,
    writer     bigint NOT NULL,
    total      bigint NOT NULL,
    PRIMARY KEY (workspace, group_name, state, writer)
) WITH (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500
);

CREATE TABLE output_total_shards (
    workspace    text COLLATE "C" NOT NULL,
    writer       bigint NOT NULL,
    stored_bytes bigint NOT NULL,
    PRIMARY KEY (workspace, writer)
) WITH (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500
);

CREATE VIEW all_task_counts AS
SELECT workspace, group_name, state, total FROM task_counts
UNION ALL SELECT workspace, group_name, state, total FROM task_count_shards;

CREATE VIEW all_output_totals AS
SELECT workspace, stored_bytes FROM output_totals
UNION ALL SELECT workspace, stored_bytes FROM output_total_shards;
