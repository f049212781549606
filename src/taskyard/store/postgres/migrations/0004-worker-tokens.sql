-- Credentials that workers on other machines join with.

CREATE TABLE worker_tokens (
    name         text COLLATE "C" PRIMARY KEY,
    digest       bytea NOT NULL CHECK (length(digest) = 32),
    tags         text COLLATE "C" NOT NULL,
    created_at   bigint NOT NULL,
    created_by   text COLLATE "C" NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    last_seen_at bigint
);
