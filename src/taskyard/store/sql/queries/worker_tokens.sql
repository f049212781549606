-- name: add
-- A new one, in the place of one that is not valid any more; none if a valid one has the name.
INSERT INTO worker_tokens (name, digest, tags, created_at, created_by, expires_at)
VALUES (:name, :digest, :tags, :created_at, :created_by, :expires_at)
ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, tags = excluded.tags,
    created_at = excluded.created_at, created_by = excluded.created_by,
    expires_at = excluded.expires_at, revoked_at = NULL, last_seen_at = NULL
WHERE worker_tokens.revoked_at IS NOT NULL OR worker_tokens.expires_at <= :now;

-- name: find
SELECT name, tags, created_at, created_by, expires_at, revoked_at, last_seen_at, digest
FROM worker_tokens WHERE name = :name;

-- name: page
SELECT name, tags, created_at, created_by, expires_at, revoked_at, last_seen_at
FROM worker_tokens WHERE name > :after ORDER BY name LIMIT :limit;

-- name: revoke
-- Revoking is final: the first time stays.
UPDATE worker_tokens SET revoked_at = :now WHERE name = :name AND revoked_at IS NULL;

-- name: seen
-- When a worker last connected with it; never goes back.
UPDATE worker_tokens SET last_seen_at = :now
WHERE name = :name AND digest = :digest AND (last_seen_at IS NULL OR last_seen_at < :now);
