-- name: list_given
-- The limit that the group was given when its list was opened last.
SELECT given_limit FROM lists WHERE workspace = :workspace AND group_name = :group_name;

-- name: give_limit
UPDATE lists SET given_limit = :given_limit
WHERE workspace = :workspace AND group_name = :group_name;

-- name: lists_of_owner
SELECT count(*) FROM lists WHERE workspace = :workspace AND owner = :owner;

-- name: insert_list
INSERT INTO lists (workspace, group_name, owner, given_limit)
VALUES (:workspace, :group_name, :owner, :given_limit);

-- name: next_number
UPDATE lists SET last_number = last_number + 1
WHERE workspace = :workspace AND group_name = :group_name RETURNING last_number;

-- name: has_queued
SELECT 1 FROM tasks WHERE workspace = :workspace AND group_name = :group_name AND state = 'queued'
LIMIT 1;

-- name: insert_entry
INSERT INTO list_entries (workspace, group_name, number, task_seq) VALUES (?, ?, ?, ?);

-- name: entries_of_list
SELECT e.number, t.seq, t.id, t.name, {{size}}, t.state, t.attempt_count
FROM list_entries AS e CROSS JOIN tasks AS t
WHERE t.seq = e.task_seq AND e.workspace = :workspace AND e.group_name = :group_name ORDER BY e.number;

-- name: listed_task
SELECT t.id FROM list_entries AS e CROSS JOIN tasks AS t
WHERE t.seq = e.task_seq AND e.workspace = :workspace AND e.group_name = :group_name AND e.number = :number;

-- name: delete_entry
DELETE FROM list_entries
WHERE workspace = :workspace AND group_name = :group_name AND number = :number;

-- name: delete_entry_of_task
DELETE FROM list_entries WHERE task_seq = :seq;
