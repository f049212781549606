-- name: size
-- As the specification of the task t has it.
readable_json(t.spec) ->> 'size';
