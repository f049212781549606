-- name: contains
-- The function that finds a text in another; 0 if it is not there.
instr;

-- name: command
-- A task's command as one line of words.
coalesce(spec ->> '$.work.shell',
    (SELECT group_concat(value, ' ') FROM json_each(spec, '$.work.argv')),
    '[' || (spec ->> '$.work.image') || '] ' ||
    coalesce((SELECT group_concat(value, ' ') FROM json_each(spec, '$.work.args')), ''),
    spec ->> '$.work.function', '');

-- name: words
-- The same as words_of() in task_list.py would have it.
replace(replace(replace(replace(replace({{command}}, '''', ''), '"', ''), '\', ''),
    char(10), ' '), char(9), ' ');

-- name: oldest_first
-- Ends a page. The join keeps the order of the walk.
LIMIT;

-- name: newest_first
LIMIT;
