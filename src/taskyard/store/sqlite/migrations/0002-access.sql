-- Tokens, users, secrets, and the audit trail.

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    workspace TEXT NOT NULL,
    role INTEGER NOT NULL CHECK (role IN (10, 20, 30, 40)),
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_of_workspace ON tokens (workspace, id);

CREATE TABLE users (
    name TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    role INTEGER NOT NULL CHECK (role IN (10, 20, 30, 40)),
    password_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX users_of_workspace ON users (workspace, name);

CREATE TABLE secrets (
    workspace TEXT NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (workspace, name)
) STRICT;

CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    workspace TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT,
    outcome TEXT NOT NULL CHECK (outcome IN ('done', 'refused')),
    address TEXT,
    detail TEXT
) STRICT;

CREATE INDEX audit_of_workspace ON audit (workspace, number);
