-- name: maintenance
-- Whether it is on, and since when it is as it is.
SELECT is_on, changed_at FROM maintenance WHERE one = 1;

-- name: put_maintenance
-- Keeps the time if nothing changes. It is off while there is no row.
INSERT INTO maintenance (one, is_on, changed_at)
SELECT 1, :is_on, :changed_at WHERE CAST(:is_on AS bigint) = 1 OR EXISTS (SELECT 1 FROM maintenance)
ON CONFLICT (one) DO UPDATE SET
    changed_at = CASE WHEN maintenance.is_on = excluded.is_on THEN maintenance.changed_at
                 ELSE excluded.changed_at END,
    is_on = excluded.is_on;
