-- name: park_job
UPDATE jobs SET next_at = :retry_at
WHERE seq = CASE WHEN CAST(:key AS text) ~ '^[0-9]{1,18}$' THEN CAST(CAST(:key AS text) AS bigint) END
  AND next_at IS NOT NULL;
