-- Functions, their versions, what calls answered; how far an attempt says it is.

ALTER TABLE attempts ADD COLUMN progress REAL;
ALTER TABLE attempts ADD COLUMN progress_text TEXT;

CREATE TABLE functions (
    id           TEXT PRIMARY KEY,
    workspace    TEXT NOT NULL,
    name         TEXT NOT NULL,
    language     TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    title        TEXT NOT NULL,
    description  TEXT NOT NULL,
    tags         TEXT NOT NULL,
    limits       TEXT NOT NULL,
    live_version INTEGER,
    last_version INTEGER NOT NULL,
    paused       INTEGER NOT NULL,
    deleted_at   INTEGER
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX functions_by_name ON functions (workspace, name) WHERE deleted_at IS NULL;
CREATE INDEX functions_of_workspace ON functions (workspace, id);

CREATE TABLE function_versions (
    function_id  TEXT NOT NULL,
    number       INTEGER NOT NULL,
    state        TEXT NOT NULL,
    bundle       TEXT NOT NULL,
    size_bytes   INTEGER NOT NULL,
    language     TEXT NOT NULL,
    handler      TEXT NOT NULL,
    entry        TEXT NOT NULL,
    dependencies TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    created_by   TEXT NOT NULL,
    finished_at  INTEGER,
    message      TEXT,
    log          TEXT,
    PRIMARY KEY (function_id, number),
    CHECK (state IN ('pending', 'building', 'ready', 'failed', 'retired'))
) STRICT, WITHOUT ROWID;

CREATE INDEX function_versions_unbuilt ON function_versions (created_at)
    WHERE state IN ('pending', 'building');

CREATE TABLE call_results (
    attempt_id TEXT PRIMARY KEY,
    status     INTEGER NOT NULL,
    headers    TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    body       BLOB
) STRICT, WITHOUT ROWID;
