-- Credentials that workers on other machines join with.

CREATE TABLE worker_tokens (
    name TEXT PRIMARY KEY,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    tags TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_seen_at INTEGER
) STRICT, WITHOUT ROWID;
