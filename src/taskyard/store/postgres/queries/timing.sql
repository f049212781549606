-- name: shift_tasks
UPDATE tasks SET start_at = greatest(start_at - :by, :now)
WHERE start_at > :now
  AND (state = 'retrying'
       OR (state = 'scheduled' AND recurring = 0
           AND readable_json(spec) ->> 'starts_after_wait' = 'true'));

-- name: shift_jobs
UPDATE jobs SET next_at = greatest(next_at - :by, :now)
WHERE next_at > :now AND recurring = 0
  AND readable_json(definition) #>> '{spec,starts_after_wait}' = 'true';
