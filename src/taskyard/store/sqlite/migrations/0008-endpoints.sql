-- What hangs on functions (endpoints, triggers, schedules, tags, nodes, builds), calls under ids of
-- their own, and what functions keep from call to call.

CREATE TABLE catalogue (
    seq         INTEGER PRIMARY KEY,
    kind        TEXT NOT NULL,
    id          TEXT NOT NULL,
    workspace   TEXT NOT NULL,
    function_id TEXT,
    next_id     TEXT,
    due_at      INTEGER,
    content     TEXT NOT NULL,
    CHECK (kind IN ('endpoint', 'trigger', 'schedule', 'tag', 'node', 'build'))
) STRICT;

CREATE UNIQUE INDEX catalogue_by_id ON catalogue (kind, id, workspace);
CREATE INDEX catalogue_of_workspace ON catalogue (workspace, kind, seq);
CREATE INDEX catalogue_of_function ON catalogue (function_id, kind, seq)
    WHERE function_id IS NOT NULL;
CREATE INDEX catalogue_of_next ON catalogue (next_id) WHERE next_id IS NOT NULL;
CREATE INDEX catalogue_due ON catalogue (due_at) WHERE due_at IS NOT NULL;

-- One row for each task that was issued under an id of its own; seq is that of the task.
CREATE TABLE issued_calls (
    seq         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    workspace   TEXT NOT NULL,
    function_id TEXT NOT NULL,
    issued_at   INTEGER NOT NULL,
    endpoint_id TEXT,
    trigger_id  TEXT,
    schedule_id TEXT,
    links       INTEGER NOT NULL,
    settled     INTEGER NOT NULL,
    limits      TEXT NOT NULL
) STRICT;

CREATE INDEX issued_calls_of_workspace ON issued_calls (workspace, issued_at);
CREATE INDEX issued_calls_of_function ON issued_calls (function_id, issued_at);
CREATE INDEX issued_calls_of_endpoint ON issued_calls (endpoint_id, issued_at)
    WHERE endpoint_id IS NOT NULL;
CREATE INDEX issued_calls_unsettled ON issued_calls (seq) WHERE settled = 0;

CREATE TABLE call_counters (
    key    TEXT PRIMARY KEY,
    period TEXT NOT NULL,
    total  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE function_blobs (
    function_id TEXT PRIMARY KEY,
    changed_at  INTEGER NOT NULL,
    data        BLOB NOT NULL
) STRICT;

ALTER TABLE function_versions ADD COLUMN began_at INTEGER;
