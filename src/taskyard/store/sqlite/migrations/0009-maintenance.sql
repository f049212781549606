-- Whether the installation is in maintenance; at most one row.

CREATE TABLE maintenance (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    is_on      INTEGER NOT NULL CHECK (is_on IN (0, 1)),
    changed_at INTEGER NOT NULL
) STRICT;
