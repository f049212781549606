-- name: contains
-- The function that finds a text in another; 0 if it is not there.
strpos;

-- name: command
-- A task's command as one line of words.
(SELECT coalesce(work ->> 'shell',
     (SELECT string_agg(word, ' ') FROM jsonb_array_elements_text(
         CASE WHEN jsonb_typeof(work -> 'argv') = 'array' THEN work -> 'argv' END) AS argv (word)),
     '[' || (work ->> 'image') || '] ' ||
     coalesce((SELECT string_agg(word, ' ') FROM jsonb_array_elements_text(
         CASE WHEN jsonb_typeof(work -> 'args') = 'array' THEN work -> 'args' END) AS args (word)), ''),
     work ->> 'function', '')
 FROM (SELECT readable_json(spec) -> 'work' AS work) AS specification);

-- name: words
-- The same as words_of() in task_list.py would have it.
translate({{command}}, chr(10) || chr(9) || '''"\', '  ');

-- name: oldest_first
-- Ends a page. A join keeps no order, but needs no sorting where there is one.
ORDER BY place LIMIT;

-- name: newest_first
ORDER BY place DESC LIMIT;
