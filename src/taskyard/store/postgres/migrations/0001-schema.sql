-- All that SQLite's migrations 0001 to 0018 make, table by table and in the same words, and what only
-- several control planes need. A test compares the two.
--
-- Every number is bigint, flags too, so that no query differs for them. Text is sorted by its bytes,
-- whatever the database is set to. Tables whose rows change often keep room in their pages, so that
-- a change which touches no index stays in its page, and are vacuumed before they grow.

-- Which installation the database belongs to; one row.
CREATE TABLE installation (
    one        bigint PRIMARY KEY CHECK (one = 1),
    id         text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    key_sample bytea
);

INSERT INTO installation (one, id, created_at)
VALUES (1, replace(gen_random_uuid()::text, '-', ''), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);

-- A JSON text, or null where it is damaged; without NUL characters, which no value here can hold.
CREATE FUNCTION readable_json(document text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF strpos(document, '\u0000') > 0 THEN
        document := regexp_replace(document, '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g');
    END IF;
    RETURN document::jsonb;
EXCEPTION WHEN others THEN
    RETURN NULL;
END
$$;

-- Positions of tasks, in the order of acceptance.
CREATE SEQUENCE task_seq AS bigint;

CREATE TABLE tasks (
    seq               bigint PRIMARY KEY,
    id                text COLLATE "C" NOT NULL UNIQUE,
    workspace         text COLLATE "C" NOT NULL,
    group_name        text COLLATE "C" NOT NULL,
    name              text COLLATE "C",
    state             text COLLATE "C" NOT NULL,
    priority          bigint NOT NULL,
    cpu_millis        bigint,
    memory_bytes      bigint,
    created_at        bigint NOT NULL,
    queued_at         bigint,
    start_at          bigint,
    expires_at        bigint,
    attempt_count     bigint NOT NULL DEFAULT 0,
    failure_count     bigint NOT NULL DEFAULT 0,
    current_attempt   text COLLATE "C",
    kill_requested_at bigint,
    finished_at       bigint,
    reason            text COLLATE "C",
    message           text COLLATE "C",
    schedule_id       text COLLATE "C",
    due_at            bigint,
    retry_of          text COLLATE "C",
    idempotency_key   text COLLATE "C",
    recurring         bigint NOT NULL DEFAULT 0,
    spec              text COLLATE "C" NOT NULL,
    demand            text COLLATE "C",
    CHECK (state IN ('scheduled', 'queued', 'running', 'retrying',
        'succeeded', 'failed', 'dead', 'cancelled', 'expired')),
    CHECK ((state = 'running') = (current_attempt IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'dead', 'cancelled', 'expired')) = (finished_at IS NOT NULL)),
    CHECK (state NOT IN ('scheduled', 'retrying') OR start_at IS NOT NULL),
    CHECK (state != 'queued' OR queued_at IS NOT NULL)
) WITH (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.05
);

CREATE INDEX tasks_ready ON tasks (workspace, group_name, priority DESC, seq) WHERE state = 'queued';
CREATE INDEX tasks_by_state ON tasks (workspace, state, seq);
CREATE INDEX tasks_by_group ON tasks (workspace, group_name, state, seq);
CREATE INDEX tasks_due ON tasks (start_at) WHERE state IN ('scheduled', 'retrying');
CREATE INDEX tasks_expiring ON tasks (expires_at)
    WHERE expires_at IS NOT NULL AND state IN ('scheduled', 'queued', 'retrying');
CREATE INDEX tasks_finished ON tasks (workspace, finished_at) WHERE finished_at IS NOT NULL;
CREATE UNIQUE INDEX tasks_idempotency ON tasks (workspace, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX tasks_firing ON tasks (schedule_id, due_at) WHERE schedule_id IS NOT NULL;
CREATE INDEX tasks_by_schedule ON tasks (schedule_id, seq) WHERE schedule_id IS NOT NULL;

CREATE TABLE attempts (
    id               text COLLATE "C" PRIMARY KEY,
    task_seq         bigint NOT NULL,
    task_id          text COLLATE "C" NOT NULL,
    workspace        text COLLATE "C" NOT NULL,
    number           bigint NOT NULL,
    worker_id        text COLLATE "C" NOT NULL,
    incarnation      text COLLATE "C" NOT NULL,
    lease_token      text COLLATE "C" NOT NULL,
    lease_expires_at bigint NOT NULL,
    state            text COLLATE "C" NOT NULL,
    assigned_at      bigint NOT NULL,
    started_at       bigint,
    finished_at      bigint,
    exit_code        bigint,
    signal           text COLLATE "C",
    reason           text COLLATE "C",
    message          text COLLATE "C",
    resources        text COLLATE "C" NOT NULL,
    handle           text COLLATE "C",
    outcome          text COLLATE "C",
    progress         double precision,
    progress_text    text COLLATE "C",
    output_bytes     bigint GENERATED ALWAYS AS (
        coalesce(substring(outcome FROM '"stdout":\{[^{}]*"stored_bytes":([0-9]{1,18})')::bigint, 0)
        + coalesce(substring(outcome FROM '"stderr":\{[^{}]*"stored_bytes":([0-9]{1,18})')::bigint, 0)
        + coalesce(substring(outcome FROM '"order_bytes":([0-9]{1,18})')::bigint, 0)
    ) STORED,
    CHECK (state IN ('assigned', 'running', 'succeeded', 'failed', 'killed', 'lost')),
    CHECK ((state IN ('assigned', 'running')) = (finished_at IS NULL))
) WITH (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.05
);

CREATE UNIQUE INDEX attempts_by_task ON attempts (task_seq, number);
CREATE INDEX attempts_unended ON attempts (worker_id) WHERE finished_at IS NULL;

CREATE TABLE events (
    task_seq   bigint NOT NULL,
    number     bigint NOT NULL,
    at         bigint NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    attempt_id text COLLATE "C",
    actor      text COLLATE "C",
    detail     text COLLATE "C",
    PRIMARY KEY (task_seq, number)
);

CREATE TABLE folded_output (
    attempt_id text COLLATE "C" NOT NULL,
    stream     text COLLATE "C" NOT NULL,
    data       bytea NOT NULL,
    PRIMARY KEY (attempt_id, stream)
);

CREATE TABLE task_labels (
    workspace text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    value     text COLLATE "C" NOT NULL,
    task_seq  bigint NOT NULL,
    PRIMARY KEY (workspace, key, value, task_seq)
);

CREATE INDEX task_labels_by_task ON task_labels (task_seq);

CREATE TABLE task_counts (
    workspace  text COLLATE "C" NOT NULL,
    group_name text COLLATE "C" NOT NULL,
    state      text COLLATE "C" NOT NULL,
    total      bigint NOT NULL,
    PRIMARY KEY (workspace, group_name, state)
) WITH (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500
);

CREATE TABLE groups (
    workspace         text COLLATE "C" NOT NULL,
    name              text COLLATE "C" NOT NULL,
    paused            bigint NOT NULL DEFAULT 0,
    concurrency_limit bigint,
    PRIMARY KEY (workspace, name)
);

CREATE TABLE workspaces (
    name              text COLLATE "C" PRIMARY KEY,
    concurrency_limit bigint
);

CREATE TABLE workers (
    id          text COLLATE "C" PRIMARY KEY,
    incarnation text COLLATE "C" NOT NULL,
    hostname    text COLLATE "C" NOT NULL,
    version     text COLLATE "C" NOT NULL,
    capacity    text COLLATE "C" NOT NULL,
    runtimes    text COLLATE "C" NOT NULL,
    joined_at   bigint NOT NULL,
    beat_at     bigint NOT NULL,
    state       text COLLATE "C" NOT NULL,
    draining    bigint NOT NULL DEFAULT 0,
    plane_id    text COLLATE "C" NOT NULL DEFAULT '',
    lease_expires_at bigint NOT NULL DEFAULT 0,
    details     text COLLATE "C" NOT NULL DEFAULT '{}',
    CHECK (state IN ('ready', 'draining', 'lost'))
) WITH (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500
);

CREATE TABLE tokens (
    id           text COLLATE "C" PRIMARY KEY,
    name         text COLLATE "C" NOT NULL,
    workspace    text COLLATE "C" NOT NULL,
    role         bigint NOT NULL CHECK (role IN (10, 20, 30, 40)),
    digest       bytea NOT NULL CHECK (length(digest) = 32),
    created_at   bigint NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    last_used_at bigint
);

CREATE INDEX tokens_of_workspace ON tokens (workspace, id);

CREATE TABLE users (
    name          text COLLATE "C" PRIMARY KEY,
    workspace     text COLLATE "C" NOT NULL,
    role          bigint NOT NULL CHECK (role IN (10, 20, 30, 40)),
    password_hash text COLLATE "C" NOT NULL,
    created_at    bigint NOT NULL
);

CREATE INDEX users_of_workspace ON users (workspace, name);

CREATE TABLE secrets (
    workspace  text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    value      bytea NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (workspace, name)
);

CREATE TABLE audit (
    number    bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at        bigint NOT NULL,
    actor     text COLLATE "C" NOT NULL,
    workspace text COLLATE "C" NOT NULL,
    action    text COLLATE "C" NOT NULL,
    target    text COLLATE "C",
    outcome   text COLLATE "C" NOT NULL CHECK (outcome IN ('done', 'refused')),
    address   text COLLATE "C",
    detail    text COLLATE "C",
    count     bigint NOT NULL DEFAULT 1
);

CREATE INDEX audit_of_workspace ON audit (workspace, number);
CREATE INDEX audit_by_outcome ON audit (workspace, outcome, number);

CREATE TABLE webhook_deliveries (
    number        bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    id            text COLLATE "C" NOT NULL UNIQUE,
    workspace     text COLLATE "C" NOT NULL,
    task_id       text COLLATE "C" NOT NULL,
    attempt_id    text COLLATE "C",
    event         text COLLATE "C" NOT NULL,
    url           text COLLATE "C" NOT NULL,
    host          text COLLATE "C" NOT NULL,
    headers       text COLLATE "C" NOT NULL,
    body          bytea NOT NULL,
    state         text COLLATE "C" NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    created_at    bigint NOT NULL,
    attempt_count bigint NOT NULL DEFAULT 0,
    failed_tries  bigint NOT NULL DEFAULT 0,
    next_at       bigint,
    delivered_at  bigint,
    last_status   bigint,
    last_error    text COLLATE "C",
    kind          text COLLATE "C" NOT NULL DEFAULT 'signed',
    policy        text COLLATE "C",
    CHECK ((state = 'pending') = (next_at IS NOT NULL)),
    CHECK ((state = 'delivered') = (delivered_at IS NOT NULL))
) WITH (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05
);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_of_workspace ON webhook_deliveries (workspace, number);
CREATE INDEX webhook_deliveries_of_state ON webhook_deliveries (workspace, state, number);
CREATE INDEX webhook_deliveries_of_task ON webhook_deliveries (task_id, number);
CREATE INDEX webhook_deliveries_of_kind ON webhook_deliveries (workspace, kind)
    WHERE state = 'pending';
CREATE INDEX webhook_deliveries_due_of_host ON webhook_deliveries (workspace, host, next_at)
WHERE state = 'pending';
CREATE INDEX webhook_deliveries_due_of_workspace ON webhook_deliveries (workspace, next_at)
WHERE state = 'pending';

CREATE TABLE webhook_tries (
    delivery    bigint NOT NULL,
    number      bigint NOT NULL,
    at          bigint NOT NULL,
    duration_ms bigint NOT NULL,
    status      bigint,
    error       text COLLATE "C",
    answer      text COLLATE "C",
    headers     text COLLATE "C",
    PRIMARY KEY (delivery, number)
);

CREATE TABLE webhook_keys (
    workspace  text COLLATE "C" PRIMARY KEY,
    value      bytea NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE lists (
    workspace   text COLLATE "C" NOT NULL,
    group_name  text COLLATE "C" NOT NULL,
    owner       text COLLATE "C" NOT NULL,
    last_number bigint NOT NULL DEFAULT 0,
    given_limit bigint,
    PRIMARY KEY (workspace, group_name)
) WITH (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500
);

CREATE INDEX lists_of_owner ON lists (workspace, owner);

CREATE TABLE list_entries (
    workspace  text COLLATE "C" NOT NULL,
    group_name text COLLATE "C" NOT NULL,
    number     bigint NOT NULL,
    task_seq   bigint NOT NULL,
    PRIMARY KEY (workspace, group_name, number)
);

CREATE UNIQUE INDEX list_entries_of_task ON list_entries (task_seq);

CREATE TABLE job_groups (
    number      bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    workspace   text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    created_at  bigint NOT NULL,
    modified_at bigint NOT NULL,
    job_count   bigint NOT NULL DEFAULT 0
) WITH (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500
);

CREATE UNIQUE INDEX job_groups_by_name ON job_groups (workspace, name);
CREATE INDEX job_groups_in_order ON job_groups (workspace, number);

CREATE TABLE job_group_words (
    workspace    text COLLATE "C" NOT NULL,
    word         text COLLATE "C" NOT NULL,
    group_number bigint NOT NULL,
    PRIMARY KEY (workspace, word, group_number)
);

CREATE TABLE jobs (
    seq             bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    workspace       text COLLATE "C" NOT NULL,
    group_name      text COLLATE "C" NOT NULL,
    id              text COLLATE "C" NOT NULL,
    created_at      bigint NOT NULL,
    modified_at     bigint NOT NULL,
    next_at         bigint,
    recurring       bigint NOT NULL DEFAULT 0,
    retry_count     bigint NOT NULL DEFAULT 0,
    execution_count bigint NOT NULL DEFAULT 0,
    ticket          text COLLATE "C" NOT NULL,
    definition      text COLLATE "C" NOT NULL
) WITH (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05
);

CREATE UNIQUE INDEX jobs_by_id ON jobs (workspace, group_name, id);
CREATE INDEX jobs_of_group ON jobs (workspace, group_name, modified_at DESC, seq DESC);
CREATE INDEX jobs_due ON jobs (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX jobs_delayed ON jobs (workspace, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX jobs_recurring ON jobs (workspace, modified_at DESC, seq DESC) WHERE recurring = 1;

CREATE TABLE job_executions (
    job_seq  bigint NOT NULL,
    number   bigint NOT NULL,
    task_seq bigint NOT NULL,
    address  text COLLATE "C",
    settled  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (job_seq, number)
);

CREATE UNIQUE INDEX job_executions_of_task ON job_executions (task_seq);
CREATE INDEX job_executions_unsettled ON job_executions (task_seq) WHERE settled = 0;
CREATE INDEX job_executions_open ON job_executions (job_seq, number) WHERE settled = 0;

CREATE TABLE functions (
    id           text COLLATE "C" PRIMARY KEY,
    workspace    text COLLATE "C" NOT NULL,
    name         text COLLATE "C" NOT NULL,
    language     text COLLATE "C" NOT NULL,
    created_at   bigint NOT NULL,
    updated_at   bigint NOT NULL,
    title        text COLLATE "C" NOT NULL,
    description  text COLLATE "C" NOT NULL,
    tags         text COLLATE "C" NOT NULL,
    limits       text COLLATE "C" NOT NULL,
    live_version bigint,
    last_version bigint NOT NULL,
    paused       bigint NOT NULL,
    deleted_at   bigint
);

CREATE UNIQUE INDEX functions_by_name ON functions (workspace, name) WHERE deleted_at IS NULL;
CREATE INDEX functions_of_workspace ON functions (workspace, id);

CREATE TABLE function_versions (
    function_id  text COLLATE "C" NOT NULL,
    number       bigint NOT NULL,
    state        text COLLATE "C" NOT NULL,
    bundle       text COLLATE "C" NOT NULL,
    size_bytes   bigint NOT NULL,
    language     text COLLATE "C" NOT NULL,
    handler      text COLLATE "C" NOT NULL,
    entry        text COLLATE "C" NOT NULL,
    dependencies text COLLATE "C" NOT NULL,
    created_at   bigint NOT NULL,
    created_by   text COLLATE "C" NOT NULL,
    finished_at  bigint,
    message      text COLLATE "C",
    log          text COLLATE "C",
    began_at     bigint,
    image        text COLLATE "C" NOT NULL DEFAULT '',
    digest       text COLLATE "C",
    credentials  text COLLATE "C" NOT NULL DEFAULT '',
    builder      text COLLATE "C",
    claimed_until bigint,
    PRIMARY KEY (function_id, number),
    CHECK (state IN ('pending', 'building', 'ready', 'failed', 'retired'))
);

CREATE INDEX function_versions_unbuilt ON function_versions (created_at)
    WHERE state IN ('pending', 'building');
CREATE INDEX function_versions_images ON function_versions (function_id, number)
    WHERE image <> '';

CREATE TABLE call_results (
    attempt_id text COLLATE "C" PRIMARY KEY,
    status     bigint NOT NULL,
    headers    text COLLATE "C" NOT NULL,
    size_bytes bigint NOT NULL,
    body       bytea
);

CREATE TABLE catalogue (
    seq         bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    kind        text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    workspace   text COLLATE "C" NOT NULL,
    function_id text COLLATE "C",
    next_id     text COLLATE "C",
    due_at      bigint,
    content     text COLLATE "C" NOT NULL,
    CHECK (kind IN ('endpoint', 'trigger', 'schedule', 'tag', 'node', 'build'))
);

CREATE UNIQUE INDEX catalogue_by_id ON catalogue (kind, id, workspace);
CREATE INDEX catalogue_of_workspace ON catalogue (workspace, kind, seq);
CREATE INDEX catalogue_of_function ON catalogue (function_id, kind, seq)
    WHERE function_id IS NOT NULL;
CREATE INDEX catalogue_of_next ON catalogue (next_id) WHERE next_id IS NOT NULL;
CREATE INDEX catalogue_due ON catalogue (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE issued_calls (
    seq         bigint PRIMARY KEY,
    id          text COLLATE "C" NOT NULL UNIQUE,
    workspace   text COLLATE "C" NOT NULL,
    function_id text COLLATE "C" NOT NULL,
    issued_at   bigint NOT NULL,
    endpoint_id text COLLATE "C",
    trigger_id  text COLLATE "C",
    schedule_id text COLLATE "C",
    links       bigint NOT NULL,
    settled     bigint NOT NULL,
    limits      text COLLATE "C" NOT NULL
) WITH (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05
);

CREATE INDEX issued_calls_of_workspace ON issued_calls (workspace, issued_at);
CREATE INDEX issued_calls_of_function ON issued_calls (function_id, issued_at);
CREATE INDEX issued_calls_of_endpoint ON issued_calls (endpoint_id, issued_at)
    WHERE endpoint_id IS NOT NULL;
CREATE INDEX issued_calls_unsettled ON issued_calls (seq) WHERE settled = 0;

CREATE TABLE call_counters (
    key    text COLLATE "C" PRIMARY KEY,
    period text COLLATE "C" NOT NULL,
    total  bigint NOT NULL
) WITH (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05
);

CREATE TABLE function_blobs (
    function_id text COLLATE "C" PRIMARY KEY,
    changed_at  bigint NOT NULL,
    data        bytea NOT NULL
);

CREATE TABLE maintenance (
    one        bigint PRIMARY KEY CHECK (one = 1),
    is_on      bigint NOT NULL CHECK (is_on IN (0, 1)),
    changed_at bigint NOT NULL
);

CREATE TABLE workspace_users (
    workspace text COLLATE "C" PRIMARY KEY,
    uid       bigint NOT NULL UNIQUE CHECK (uid > 0)
);

CREATE TABLE parked (
    kind      text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    workspace text COLLATE "C" NOT NULL,
    reason    text COLLATE "C" NOT NULL,
    since     bigint NOT NULL,
    retry_at  bigint NOT NULL,
    due_at    bigint,
    PRIMARY KEY (kind, key),
    CHECK (kind IN ('task', 'job', 'schedule', 'trigger', 'delivery', 'attempt'))
);

CREATE INDEX parked_by_workspace ON parked (workspace, since);

CREATE TABLE output_totals (
    workspace    text COLLATE "C" PRIMARY KEY,
    stored_bytes bigint NOT NULL
) WITH (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500
);

-- Control planes that share this database, and which of them leads. Times are the database's.

CREATE TABLE planes (
    id        text COLLATE "C" PRIMARY KEY,
    name      text COLLATE "C" NOT NULL,
    address   text COLLATE "C" NOT NULL,
    version   text COLLATE "C" NOT NULL,
    beat_at   bigint NOT NULL,
    joined_at bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

CREATE TABLE leadership (
    one        bigint PRIMARY KEY CHECK (one = 1),
    plane_id   text COLLATE "C" NOT NULL,
    term       bigint NOT NULL,
    expires_at bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

-- What each commit changed, for all control planes; kept for a short while. Positions become visible
-- out of order, so nobody reads what is behind one: a reader asks for the transactions that it
-- could not see before (queries/changes.sql), and among them positions tell the order.

CREATE TABLE changes (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid      xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at       bigint NOT NULL,
    data     bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);

-- Compressing costs more than these few bytes are worth.
ALTER TABLE changes ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE INDEX changes_by_xid ON changes (xid);
