-- One lease for each worker's incarnation, by the store's clock; with all that a leader has to know
-- of workers beside other control planes. And these, and which of them leads.

ALTER TABLE workers ADD COLUMN plane_id TEXT NOT NULL DEFAULT '';
ALTER TABLE workers ADD COLUMN lease_expires_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN details TEXT NOT NULL DEFAULT '{}';

CREATE TABLE planes (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    address   TEXT NOT NULL,
    version   TEXT NOT NULL,
    beat_at   INTEGER NOT NULL,
    joined_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE leadership (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    plane_id   TEXT NOT NULL,
    term       INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
