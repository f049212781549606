-- Where kept counters are read.

-- name: task_counts
task_counts;

-- name: output_totals
output_totals;
