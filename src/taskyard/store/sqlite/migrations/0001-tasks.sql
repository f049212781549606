-- Tasks, attempts, their history and output, groups, workers, counters.
-- Instants are microseconds since 1970 UTC. States and reasons are the words of core/states.py.

CREATE TABLE tasks (
    seq               INTEGER PRIMARY KEY,
    id                TEXT NOT NULL UNIQUE,
    workspace         TEXT NOT NULL,
    group_name        TEXT NOT NULL,
    name              TEXT,
    state             TEXT NOT NULL,
    priority          INTEGER NOT NULL,
    cpu_millis        INTEGER,
    memory_bytes      INTEGER,
    created_at        INTEGER NOT NULL,
    queued_at         INTEGER,
    start_at          INTEGER,
    expires_at        INTEGER,
    attempt_count     INTEGER NOT NULL DEFAULT 0,
    failure_count     INTEGER NOT NULL DEFAULT 0,
    current_attempt   TEXT,
    kill_requested_at INTEGER,
    finished_at       INTEGER,
    reason            TEXT,
    message           TEXT,
    schedule_id       TEXT,
    due_at            INTEGER,
    retry_of          TEXT,
    idempotency_key   TEXT,
    recurring         INTEGER NOT NULL DEFAULT 0,
    spec              TEXT NOT NULL,
    CHECK (state IN ('scheduled', 'queued', 'running', 'retrying',
                     'succeeded', 'failed', 'dead', 'cancelled', 'expired')),
    CHECK ((state = 'running') = (current_attempt IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'dead', 'cancelled', 'expired')) = (finished_at IS NOT NULL)),
    CHECK (state NOT IN ('scheduled', 'retrying') OR start_at IS NOT NULL),
    CHECK (state != 'queued' OR queued_at IS NOT NULL)
) STRICT;

CREATE INDEX tasks_ready ON tasks (workspace, group_name, priority DESC, seq) WHERE state = 'queued';
CREATE INDEX tasks_by_state ON tasks (workspace, state, seq);
CREATE INDEX tasks_by_group ON tasks (workspace, group_name, state, seq);
CREATE INDEX tasks_due ON tasks (start_at) WHERE state IN ('scheduled', 'retrying');
CREATE INDEX tasks_expiring ON tasks (expires_at)
    WHERE expires_at IS NOT NULL AND state IN ('scheduled', 'queued', 'retrying');
CREATE INDEX tasks_finished ON tasks (workspace, finished_at) WHERE finished_at IS NOT NULL;
CREATE UNIQUE INDEX tasks_idempotency ON tasks (workspace, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX tasks_firing ON tasks (schedule_id, due_at) WHERE schedule_id IS NOT NULL;
CREATE INDEX tasks_by_schedule ON tasks (schedule_id, seq) WHERE schedule_id IS NOT NULL;

CREATE TABLE attempts (
    id               TEXT PRIMARY KEY,
    task_seq         INTEGER NOT NULL,
    task_id          TEXT NOT NULL,
    workspace        TEXT NOT NULL,
    number           INTEGER NOT NULL,
    worker_id        TEXT NOT NULL,
    incarnation      TEXT NOT NULL,
    lease_token      TEXT NOT NULL,
    lease_expires_at INTEGER NOT NULL,
    state            TEXT NOT NULL,
    assigned_at      INTEGER NOT NULL,
    started_at       INTEGER,
    finished_at      INTEGER,
    exit_code        INTEGER,
    signal           TEXT,
    reason           TEXT,
    message          TEXT,
    resources        TEXT NOT NULL,
    handle           TEXT,
    outcome          TEXT,
    CHECK (state IN ('assigned', 'running', 'succeeded', 'failed', 'killed', 'lost')),
    CHECK ((state IN ('assigned', 'running')) = (finished_at IS NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX attempts_by_task ON attempts (task_seq, number);
CREATE INDEX attempts_unended ON attempts (worker_id) WHERE finished_at IS NULL;

CREATE TABLE events (
    task_seq   INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    attempt_id TEXT,
    actor      TEXT,
    detail     TEXT,
    PRIMARY KEY (task_seq, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE folded_output (
    attempt_id TEXT NOT NULL,
    stream     TEXT NOT NULL,
    data       BLOB NOT NULL,
    PRIMARY KEY (attempt_id, stream)
) STRICT, WITHOUT ROWID;

CREATE TABLE task_labels (
    workspace TEXT NOT NULL,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    task_seq  INTEGER NOT NULL,
    PRIMARY KEY (workspace, key, value, task_seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX task_labels_by_task ON task_labels (task_seq);

-- Kept by the writer in each transaction, so that no count ever has to scan.
CREATE TABLE task_counts (
    workspace  TEXT NOT NULL,
    group_name TEXT NOT NULL,
    state      TEXT NOT NULL,
    total      INTEGER NOT NULL,
    PRIMARY KEY (workspace, group_name, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE groups (
    workspace         TEXT NOT NULL,
    name              TEXT NOT NULL,
    paused            INTEGER NOT NULL DEFAULT 0,
    concurrency_limit INTEGER,
    PRIMARY KEY (workspace, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE workspaces (
    name              TEXT PRIMARY KEY,
    concurrency_limit INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
    id          TEXT PRIMARY KEY,
    incarnation TEXT NOT NULL,
    hostname    TEXT NOT NULL,
    version     TEXT NOT NULL,
    capacity    TEXT NOT NULL,
    runtimes    TEXT NOT NULL,
    joined_at   INTEGER NOT NULL,
    beat_at     INTEGER NOT NULL,
    state       TEXT NOT NULL,
    CHECK (state IN ('ready', 'draining', 'lost'))
) STRICT, WITHOUT ROWID;
