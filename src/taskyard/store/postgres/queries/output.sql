-- name: known_attempts
-- PostgreSQL's functions for JSON have other names.
SELECT id FROM attempts
WHERE id IN (SELECT value FROM jsonb_array_elements_text(CAST(CAST(:ids AS text) AS jsonb)) AS wanted (value));
