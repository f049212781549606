-- Entries that background work could not deal with: put aside with the reason, tried again later.

CREATE TABLE parked (
    kind      TEXT NOT NULL,
    key       TEXT NOT NULL,
    workspace TEXT NOT NULL,
    reason    TEXT NOT NULL,
    since     INTEGER NOT NULL,
    retry_at  INTEGER NOT NULL,
    due_at    INTEGER,
    PRIMARY KEY (kind, key),
    CHECK (kind IN ('task', 'job', 'schedule', 'trigger', 'delivery', 'attempt'))
) STRICT, WITHOUT ROWID;

CREATE INDEX parked_by_workspace ON parked (workspace, since);
