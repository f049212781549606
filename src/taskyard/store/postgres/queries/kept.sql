-- Where kept counters are read: several rows may have to be added up.

-- name: task_counts
all_task_counts;

-- name: output_totals
all_output_totals;
