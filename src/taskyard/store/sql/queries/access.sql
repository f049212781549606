-- name: insert_token
-- A new token; none if its id is taken.
INSERT INTO tokens (id, name, workspace, role, digest, created_at, expires_at)
VALUES (:id, :name, :workspace, :role, :digest, :created_at, :expires_at)
ON CONFLICT (id) DO NOTHING;

-- name: find_token
-- One token by id, in whatever workspace.
SELECT id, name, workspace, role, created_at, expires_at, revoked_at, last_used_at, digest
FROM tokens WHERE id = :id;

-- name: list_tokens
-- A page of a workspace's tokens in order of id.
SELECT id, name, workspace, role, created_at, expires_at, revoked_at, last_used_at
FROM tokens WHERE workspace = :workspace AND id > :after ORDER BY id LIMIT :limit;

-- name: revoke_token
-- Revoking is final: the first time stays.
UPDATE tokens SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL;

-- name: note_use
-- When a token was last used; never goes back.
UPDATE tokens SET last_used_at = :at
WHERE id = :id AND (last_used_at IS NULL OR last_used_at < :at);

-- name: insert_user
-- A new user; none if the name is taken.
INSERT INTO users (name, workspace, role, password_hash, created_at)
VALUES (:name, :workspace, :role, :password_hash, :created_at)
ON CONFLICT (name) DO NOTHING;

-- name: find_user
-- One user by name, in whatever workspace.
SELECT name, workspace, role, created_at, password_hash FROM users WHERE name = :name;

-- name: list_users
-- A page of a workspace's users in order of name.
SELECT name, workspace, role, created_at FROM users
WHERE workspace = :workspace AND name > :after ORDER BY name LIMIT :limit;

-- name: delete_user
-- Removes a user of this workspace.
DELETE FROM users WHERE workspace = :workspace AND name = :name;

-- name: set_password
-- Changes the password of a user of this workspace.
UPDATE users SET password_hash = :password_hash WHERE workspace = :workspace AND name = :name;

-- name: secret_exists
-- Whether a workspace has a secret of this name.
SELECT 1 FROM secrets WHERE workspace = :workspace AND name = :name;

-- name: put_secret
-- Creates or replaces a secret; its creation time stays.
INSERT INTO secrets (workspace, name, value, created_at, updated_at)
VALUES (:workspace, :name, :value, :now, :now)
ON CONFLICT (workspace, name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at;

-- name: list_secrets
-- A page of a workspace's secrets in order of name, without values.
SELECT name, created_at, updated_at FROM secrets
WHERE workspace = :workspace AND name > :after ORDER BY name LIMIT :limit;

-- name: sealed_secret
-- The encrypted value of one secret.
SELECT value FROM secrets WHERE workspace = :workspace AND name = :name;

-- name: delete_secret
-- Removes a secret.
DELETE FROM secrets WHERE workspace = :workspace AND name = :name;

-- name: sample_sealed
-- Any one encrypted value, to try a key on.
SELECT * FROM (SELECT 'secret', workspace, name, value FROM secrets LIMIT 1) AS any_secret
UNION ALL
SELECT * FROM (SELECT 'signing_key', workspace, '', value FROM webhook_keys LIMIT 1) AS any_key
LIMIT 1;

-- name: append_audit
-- One more entry of the audit trail; answers its number.
INSERT INTO audit (at, actor, workspace, action, target, outcome, address, detail, count)
VALUES (:at, :actor, :workspace, :action, :target, :outcome, :address, :detail, :count)
RETURNING number;

-- name: recount_audit
-- It happened so many more times.
UPDATE audit SET count = count + :more WHERE number = :number;

-- name: trim_audit
-- Drops what is older than the newest :keep entries of this outcome in a workspace.
DELETE FROM audit WHERE workspace = :workspace AND outcome = :outcome AND number <= (
    SELECT number FROM audit WHERE workspace = :workspace AND outcome = :outcome
    ORDER BY number DESC LIMIT 1 OFFSET :keep
);

-- name: list_audit
-- A page of a workspace's audit trail, newest first.
SELECT number, at, actor, workspace, action, target, outcome, address, detail, count FROM audit
WHERE workspace = :workspace AND number < :before ORDER BY number DESC LIMIT :limit;
