-- name: has_tag
readable_json(tags) @> jsonb_build_array(:tag::text);

-- name: version_called
-- By a task, as its specification has it.
(readable_json(spec) -> 'work' ->> 'version')::bigint;

-- name: insert_result
INSERT INTO call_results (attempt_id, status, headers, size_bytes, body)
SELECT * FROM unnest(?::text[], ?::bigint[], ?::text[], ?::bigint[], ?::bytea[])
ON CONFLICT (attempt_id) DO NOTHING;
