-- name: park_job
UPDATE jobs SET next_at = :retry_at WHERE seq = CAST(CAST(:key AS text) AS bigint) AND next_at IS NOT NULL;
