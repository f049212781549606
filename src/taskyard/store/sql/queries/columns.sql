-- Columns that several queries select, in the order in which rows.py and jobrows.py read them.
-- A query names them in braces: {task}, or {t.task} for those of the table that it calls t.

-- columns: ready_task
seq, id, priority, cpu_millis, memory_bytes, queued_at, expires_at, demand

-- columns: function
id, workspace, name, language, created_at, updated_at, title, description, tags, limits,
live_version, last_version, paused, deleted_at

-- columns: version
function_id, number, state, bundle, size_bytes, language, handler, entry, dependencies,
created_at, created_by, finished_at, message, image, digest, credentials

-- columns: job
seq, workspace, group_name, id, definition, created_at, modified_at, retry_count, next_at,
ticket, execution_count

-- columns: attempt
id, task_id, workspace, number, worker_id, incarnation, lease_token, lease_expires_at,
resources, state, assigned_at, started_at, finished_at, exit_code, signal, reason, message,
handle, outcome, progress, progress_text

-- columns: task
seq, id, workspace, spec, state, created_at, attempt_count, start_at, current_attempt,
kill_requested_at, finished_at, reason, message, schedule_id, due_at, retry_of, priority

-- columns: delivery
number, id, workspace, task_id, attempt_id, event, url, state, created_at, attempt_count,
next_at, delivered_at, last_status, last_error

-- columns: worker
id, incarnation, hostname, version, capacity, runtimes, joined_at, beat_at, state, draining,
plane_id, details
