-- What is not in the tables that SQLite has is kept as objects; or, if they could not be stored, in
-- the directory of the control plane whose worker made it.

-- name: output_expected
SELECT a.id, a.outcome FROM attempts AS a
WHERE a.finished_at IS NOT NULL AND a.output_bytes > 0
  AND NOT EXISTS (SELECT 1 FROM folded_output AS f WHERE f.attempt_id = a.id)
  AND NOT EXISTS (SELECT 1 FROM objects AS o WHERE o.key = 'output/' || a.id || '/stdout');

-- name: results_expected
SELECT r.attempt_id FROM call_results AS r
WHERE r.body IS NULL AND r.size_bytes > 0
  AND NOT EXISTS (SELECT 1 FROM objects AS o WHERE o.key = 'results/' || r.attempt_id);

-- name: bundles_expected
SELECT DISTINCT v.bundle FROM function_versions AS v
WHERE v.bundle <> ''
  AND NOT EXISTS (SELECT 1 FROM objects AS o WHERE o.key = 'bundles/' || v.bundle);
