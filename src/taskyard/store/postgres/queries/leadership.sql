-- name: leads
SELECT 1 FROM leadership WHERE term = :term FOR SHARE;
