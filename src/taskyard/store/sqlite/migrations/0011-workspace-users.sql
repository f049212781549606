-- The user of the machine that the work of each workspace runs as. Rows stay: a user id is never
-- given to another workspace.

CREATE TABLE workspace_users (
    workspace TEXT PRIMARY KEY,
    uid       INTEGER NOT NULL UNIQUE CHECK (uid > 0)
) STRICT;
