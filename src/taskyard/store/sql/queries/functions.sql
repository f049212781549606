-- name: insert_function
-- None if the id is taken, in whichever workspace.
INSERT INTO functions (id, workspace, name, language, created_at, updated_at, title, description,
                       tags, limits, live_version, last_version, paused, deleted_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING;

-- name: function_by_id
SELECT {function}
FROM functions WHERE id = :id AND workspace = :workspace;

-- name: function_by_name
SELECT {function}
FROM functions WHERE workspace = :workspace AND name = :name AND deleted_at IS NULL;

-- name: images_of_function
SELECT number FROM function_versions WHERE function_id = :function_id AND image <> '';

-- name: functions_of_workspace
SELECT {function}
FROM functions
WHERE workspace = :workspace AND id > :after AND CASE WHEN deleted_at IS NULL THEN 0 ELSE 1 END = :deleted
  AND (CAST(:tag AS text) IS NULL OR {{has_tag}})
ORDER BY id LIMIT :limit;

-- name: functions_newest_first
SELECT {function}
FROM functions
WHERE workspace = :workspace AND id < :after AND CASE WHEN deleted_at IS NULL THEN 0 ELSE 1 END = :deleted
  AND (CAST(:tag AS text) IS NULL OR {{has_tag}})
ORDER BY id DESC LIMIT :limit;

-- name: all_functions
SELECT {function}
FROM functions WHERE deleted_at IS NULL ORDER BY id;

-- name: update_function
UPDATE functions SET name = :name, language = :language, updated_at = :updated_at, title = :title,
       description = :description, tags = :tags, limits = :limits, live_version = :live_version,
       paused = :paused, deleted_at = :deleted_at
WHERE id = :id;

-- name: next_version
UPDATE functions SET last_version = last_version + 1, updated_at = :now
WHERE id = :id AND deleted_at IS NULL RETURNING last_version;

-- name: insert_version
INSERT INTO function_versions (function_id, number, state, bundle, size_bytes, language, handler,
                               entry, dependencies, created_at, created_by, image,
                               credentials)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: version_by_number
SELECT {version}
FROM function_versions WHERE function_id = :function_id AND number = :number;

-- name: versions_of_function
SELECT {version}
FROM function_versions WHERE function_id = :function_id AND number < :before
ORDER BY number DESC LIMIT :limit;

-- name: bundles
-- Bundles that a version is made of, also of functions that are deleted and can be restored.
SELECT DISTINCT bundle FROM function_versions;

-- name: image_versions
SELECT function_id, number FROM function_versions WHERE image <> '';

-- name: unbuilt
SELECT {version},
       (SELECT workspace FROM functions WHERE id = function_id)
FROM function_versions WHERE state IN ('pending', 'building') ORDER BY created_at, number;

-- name: claim_build
-- Nobody's, one whose claim is over, or the same builder's, which goes on.
UPDATE function_versions SET builder = :builder, claimed_until = :until
WHERE function_id = :function_id AND number = :number AND state IN ('pending', 'building')
  AND (builder IS NULL OR builder = :builder OR claimed_until <= :now);

-- name: set_build
-- One whose files are removed ended when it ended.
UPDATE function_versions
SET began_at = CASE WHEN :state = 'building' THEN :now ELSE began_at END, state = :state,
    log = coalesce(:log, log), message = :message, digest = coalesce(:digest, digest),
    finished_at = CASE WHEN :state = 'retired' THEN finished_at ELSE :finished_at END
WHERE function_id = :function_id AND number = :number;

-- name: go_live
-- The version created last wins, in whichever order builds end.
UPDATE functions SET live_version = :number, updated_at = :now,
       language = (SELECT language FROM function_versions
                   WHERE function_id = :function_id AND number = :number)
WHERE id = :function_id AND (live_version IS NULL OR live_version < :number)
  AND EXISTS (SELECT 1 FROM function_versions
              WHERE function_id = :function_id AND number = :number);

-- name: build_log
SELECT log FROM function_versions WHERE function_id = :function_id AND number = :number;

-- name: versions_in_use
-- Versions that unended calls of one group are bound to; a call that is not bound uses the live one.
SELECT DISTINCT {{version_called}} FROM tasks
WHERE workspace = :workspace AND group_name = :group_name
  AND state IN ('scheduled', 'queued', 'running', 'retrying');

-- name: insert_result
-- Positional, because many are bound at once.
INSERT INTO call_results (attempt_id, status, headers, size_bytes, body)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (attempt_id) DO NOTHING;

-- name: result_of_task
-- The last attempt; what an earlier one answered is not the task's result.
SELECT a.id, r.status, r.headers, r.size_bytes, r.body
FROM attempts AS a LEFT JOIN call_results AS r ON r.attempt_id = a.id
WHERE a.task_seq = :seq ORDER BY a.number DESC LIMIT 1;

-- name: delete_results
DELETE FROM call_results WHERE attempt_id IN (SELECT id FROM attempts WHERE task_seq = :seq);

-- name: set_progress
-- Never back; a task that runs again begins with a new attempt.
UPDATE attempts
SET progress = CASE WHEN coalesce(progress, 0.0) > :fraction THEN coalesce(progress, 0.0) ELSE :fraction END,
    progress_text = :text
WHERE id = :attempt_id AND lease_token = :lease_token AND state IN ('assigned', 'running');

-- name: put_blob
INSERT INTO function_blobs (function_id, changed_at, data) VALUES (:function_id, :now, :data)
ON CONFLICT (function_id) DO UPDATE SET changed_at = excluded.changed_at, data = excluded.data;

-- name: delete_blob
DELETE FROM function_blobs WHERE function_id = :function_id;

-- name: blob_of_function
SELECT data FROM function_blobs WHERE function_id = :function_id;
