-- Objects: immutable bytes under keys, in chunks, so that a range costs what it holds and no object
-- is ever in memory. A content is written first, as an orphan, and gets its key when it is complete;
-- one that loses its key is an orphan again. What no object needs is found there.

CREATE SEQUENCE object_content_id AS bigint;

CREATE TABLE objects (
    key         text COLLATE "C" PRIMARY KEY,
    content_id  bigint NOT NULL,
    size_bytes  bigint NOT NULL CHECK (size_bytes >= 0),
    chunk_bytes bigint NOT NULL CHECK (chunk_bytes > 0),
    put_at      bigint NOT NULL
);

-- Contents that are being written, or are to be removed. The one that writes moves active_at on.
CREATE TABLE object_orphans (
    content_id bigint PRIMARY KEY,
    active_at  bigint NOT NULL
);

-- Chunks are of equal length but for the last; packed ones are compressed by us. So PostgreSQL
-- shall not try it again.
CREATE TABLE object_chunks (
    content_id bigint NOT NULL,
    number     bigint NOT NULL CHECK (number >= 0),
    packed     bigint NOT NULL CHECK (packed IN (0, 1)),
    data       bytea NOT NULL,
    PRIMARY KEY (content_id, number)
);

ALTER TABLE object_chunks ALTER COLUMN data SET STORAGE EXTERNAL;
