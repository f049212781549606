-- name: timezone
-- Of an entry's content.
content ->> '$.timezone';

-- name: entries_by_ids
SELECT content FROM catalogue
WHERE kind = :kind AND workspace = :workspace AND id IN (SELECT value FROM json_each(:ids));
