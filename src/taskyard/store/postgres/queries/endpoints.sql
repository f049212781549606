-- name: timezone
-- Of an entry's content.
readable_json(content) ->> 'timezone';

-- name: entries_by_ids
SELECT content FROM catalogue
WHERE kind = :kind AND workspace = :workspace AND id IN (SELECT jsonb_array_elements_text(:ids::text::jsonb));
