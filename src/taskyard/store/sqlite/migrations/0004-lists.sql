-- What a task asks of its worker beyond cores and memory; and numbered lists of tasks.

ALTER TABLE tasks ADD COLUMN demand TEXT;

CREATE TABLE lists (
    workspace   TEXT NOT NULL,
    group_name  TEXT NOT NULL,
    owner       TEXT NOT NULL,
    last_number INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace, group_name)
) STRICT, WITHOUT ROWID;

CREATE INDEX lists_of_owner ON lists (workspace, owner);

CREATE TABLE list_entries (
    workspace  TEXT NOT NULL,
    group_name TEXT NOT NULL,
    number     INTEGER NOT NULL,
    task_seq   INTEGER NOT NULL,
    PRIMARY KEY (workspace, group_name, number)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX list_entries_of_task ON list_entries (task_seq);
