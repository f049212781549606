-- Jobs: definitions whose runs are tasks; and messages in forms of others in the outbox.

CREATE TABLE job_groups (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace   TEXT NOT NULL,
    name        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    job_count   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX job_groups_by_name ON job_groups (workspace, name);
CREATE INDEX job_groups_in_order ON job_groups (workspace, number);

CREATE TABLE job_group_words (
    workspace    TEXT NOT NULL,
    word         TEXT NOT NULL,
    group_number INTEGER NOT NULL,
    PRIMARY KEY (workspace, word, group_number)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace       TEXT NOT NULL,
    group_name      TEXT NOT NULL,
    id              TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    modified_at     INTEGER NOT NULL,
    next_at         INTEGER,
    recurring       INTEGER NOT NULL DEFAULT 0,
    retry_count     INTEGER NOT NULL DEFAULT 0,
    execution_count INTEGER NOT NULL DEFAULT 0,
    ticket          TEXT NOT NULL,
    definition      TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX jobs_by_id ON jobs (workspace, group_name, id);
CREATE INDEX jobs_of_group ON jobs (workspace, group_name, modified_at DESC, seq DESC);
CREATE INDEX jobs_due ON jobs (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX jobs_delayed ON jobs (workspace, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX jobs_recurring ON jobs (workspace, modified_at DESC, seq DESC) WHERE recurring = 1;

CREATE TABLE job_executions (
    job_seq  INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    task_seq INTEGER NOT NULL,
    address  TEXT,
    settled  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job_seq, number)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX job_executions_of_task ON job_executions (task_seq);
CREATE INDEX job_executions_unsettled ON job_executions (task_seq) WHERE settled = 0;
CREATE INDEX job_executions_open ON job_executions (job_seq, number) WHERE settled = 0;

ALTER TABLE webhook_deliveries ADD COLUMN kind TEXT NOT NULL DEFAULT 'signed';
ALTER TABLE webhook_deliveries ADD COLUMN policy TEXT;
ALTER TABLE webhook_tries ADD COLUMN headers TEXT;

CREATE INDEX webhook_deliveries_of_kind ON webhook_deliveries (workspace, kind)
    WHERE state = 'pending';
