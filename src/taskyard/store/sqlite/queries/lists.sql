-- name: size
-- As the specification of the task t has it.
t.spec ->> '$.size';
