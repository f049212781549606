-- Times are microseconds by the clock of the database.

-- name: renew
-- An object that is there already counts as put now.
UPDATE objects SET put_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
WHERE key = %(key)s

-- name: next_content
-- The number of a new content.
SELECT nextval('object_content_id')

-- name: begin_content
-- A content that is going to be written.
INSERT INTO object_orphans (content_id, active_at)
VALUES (%(content_id)s, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)

-- name: keep_content
-- Its writer is still there; no row if it was swept.
UPDATE object_orphans SET active_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
WHERE content_id = %(content_id)s

-- name: add_chunks
-- The next chunks of a content.
INSERT INTO object_chunks (content_id, number, packed, data)
SELECT %(content_id)s, number, packed, data
FROM unnest(%(numbers)b::bigint[], %(packed)b::bigint[], %(data)b::bytea[])
    AS chunk (number, packed, data)

-- name: end_content
-- It is complete, or removed.
DELETE FROM object_orphans WHERE content_id = %(content_id)s

-- name: add_object
-- Give a complete content its key; answers with the content that has the key now.
INSERT INTO objects (key, content_id, size_bytes, chunk_bytes, put_at)
VALUES (
    %(key)s, %(content_id)s, %(size_bytes)s, %(chunk_bytes)s,
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
)
ON CONFLICT (key) DO UPDATE SET put_at = excluded.put_at
RETURNING content_id

-- name: remove_chunks
-- All that was written of a content.
DELETE FROM object_chunks WHERE content_id = %(content_id)s

-- name: size_of
SELECT size_bytes FROM objects WHERE key = %(key)s

-- name: read_range
-- The chunks that hold any of a range; one row without a chunk if it lies behind the end.
SELECT o.content_id, o.size_bytes, o.chunk_bytes, c.number, c.packed, c.data
FROM objects o
LEFT JOIN object_chunks c
    ON c.content_id = o.content_id
    AND c.number BETWEEN %(begin)s::bigint / o.chunk_bytes
        AND (least(%(end)s::bigint, o.size_bytes) - 1) / o.chunk_bytes
    AND %(begin)s::bigint < least(%(end)s::bigint, o.size_bytes)
WHERE o.key = %(key)s
ORDER BY c.number

-- name: unlink_objects
-- Take objects their keys; their contents are orphans that nobody writes. Locked in order of the
-- keys, as two may delete the same ones; one that was put again meanwhile is looked at again.
WITH unwanted AS MATERIALIZED (
    SELECT key FROM objects
    WHERE key = ANY(%(keys)s::text[])
        AND put_at <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - %(older_than_us)s
    ORDER BY key
    FOR UPDATE
), gone AS (
    DELETE FROM objects USING unwanted WHERE objects.key = unwanted.key
    RETURNING objects.content_id
)
INSERT INTO object_orphans (content_id, active_at) SELECT content_id, 0 FROM gone
RETURNING content_id

-- name: list_objects
SELECT key, size_bytes, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - put_at
FROM objects
WHERE key >= %(prefix)s AND key < %(behind)s AND key > %(after)s
ORDER BY key
LIMIT %(count)s

-- name: orphans
-- Contents that nobody has written to for a while; those that somebody else removes are left out.
SELECT content_id FROM object_orphans
WHERE active_at <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - %(older_than_us)s
ORDER BY content_id
LIMIT %(count)s

-- name: lock_orphan
-- No row if it is written to after all, or removed by somebody else.
SELECT content_id FROM object_orphans
WHERE content_id = %(content_id)s
    AND active_at <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - %(older_than_us)s
FOR UPDATE SKIP LOCKED
