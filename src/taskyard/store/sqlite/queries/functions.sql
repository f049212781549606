-- name: has_tag
EXISTS (SELECT 1 FROM json_each(tags) WHERE value = :tag);

-- name: version_called
-- By a task, as its specification has it.
spec ->> '$.work.version';
