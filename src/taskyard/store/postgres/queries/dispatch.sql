-- name: renew_workers
UPDATE workers SET beat_at = :now, lease_expires_at = ({{clock.now}}) + :lease
WHERE incarnation IN (SELECT json_array_elements_text(CAST(:incarnations AS text)::json))
  AND state != 'lost'
RETURNING id, incarnation;
