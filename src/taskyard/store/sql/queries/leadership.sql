-- name: register_plane
INSERT INTO planes (id, name, address, version, joined_at, beat_at)
SELECT :id, :name, :address, :version, at, at FROM (SELECT ({{clock.now}}) AS at) AS clock WHERE true
ON CONFLICT (id) DO UPDATE SET name = excluded.name, address = excluded.address,
    version = excluded.version, beat_at = excluded.beat_at;

-- name: beat_plane
UPDATE planes SET beat_at = ({{clock.now}}) WHERE id = :id;

-- name: all_planes
SELECT id, name, address, version, joined_at, beat_at FROM planes ORDER BY joined_at, id;

-- name: forget_planes
DELETE FROM planes WHERE beat_at < ({{clock.now}}) - :silent;

-- name: claim
-- Extends one's own term while it lasts; begins another one where it does not, or is not one's own
-- and has run out. Changes nothing while somebody else holds.
INSERT INTO leadership (one, plane_id, term, expires_at)
VALUES (1, :plane_id, 1, ({{clock.now}}) + :hold)
ON CONFLICT (one) DO UPDATE SET
    term = CASE WHEN leadership.plane_id = excluded.plane_id AND leadership.term = :term
                     AND leadership.expires_at > ({{clock.now}})
                THEN leadership.term ELSE leadership.term + 1 END,
    plane_id = excluded.plane_id, expires_at = excluded.expires_at
WHERE leadership.plane_id = excluded.plane_id OR leadership.expires_at <= ({{clock.now}});

-- name: hold
SELECT plane_id, term, expires_at, ({{clock.now}}) FROM leadership;

-- name: resign
UPDATE leadership SET expires_at = ({{clock.now}})
WHERE plane_id = :plane_id AND term = :term AND expires_at > ({{clock.now}});

-- name: leads
-- Whether no later term has begun. Until the transaction ends, none begins: whoever claims waits.
SELECT 1 FROM leadership WHERE term = :term;
