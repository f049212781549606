-- name: places
-- Walks by the index from host to host, and after :hosts of them to the next workspace.
places (workspace, host, count) AS (
    (SELECT workspace, host, 1 FROM webhook_deliveries WHERE state = 'pending'
     ORDER BY workspace, host LIMIT 1)
    UNION ALL
    SELECT n.workspace, n.host, CASE WHEN n.workspace = places.workspace THEN places.count + 1 ELSE 1 END
    FROM places CROSS JOIN LATERAL (
        SELECT d.workspace, d.host FROM webhook_deliveries AS d
        WHERE d.state = 'pending' AND (d.workspace, d.host)
            > (places.workspace, CASE WHEN places.count < :hosts THEN places.host ELSE chr(1114111) END)
        ORDER BY d.workspace, d.host LIMIT 1
    ) AS n
);

-- name: chosen
-- Due messages: of each workspace the longest due first, at most :of_host of each host; all
-- workspaces' first ones first. What a workspace has room for besides goes to its longest due ones
-- of whatever host, so that no host is passed over forever.
candidates (number, rest) AS (
    SELECT d.number, 0 FROM places CROSS JOIN LATERAL (
        SELECT p.number FROM webhook_deliveries AS p
        WHERE p.state = 'pending' AND p.workspace = places.workspace AND p.host = places.host
            AND p.next_at <= :now
        ORDER BY p.next_at LIMIT :of_host
    ) AS d
    UNION ALL
    SELECT d.number, 1 FROM places CROSS JOIN LATERAL (
        SELECT p.number FROM webhook_deliveries AS p
        WHERE p.state = 'pending' AND p.workspace = places.workspace AND p.next_at <= :now
        ORDER BY p.next_at LIMIT :of_workspace
    ) AS d
    WHERE places.count = :hosts
),
ranked (number, next_at, place) AS (
    SELECT d.number, d.next_at,
        row_number() OVER (PARTITION BY d.workspace ORDER BY c.rest, d.next_at, d.number)
    FROM (SELECT number, min(rest) AS rest FROM candidates GROUP BY number) AS c
    JOIN webhook_deliveries AS d ON d.number = c.number
),
chosen AS (
    SELECT number, next_at, place FROM ranked WHERE place <= :of_workspace
    ORDER BY place, next_at, number LIMIT :limit
);

-- name: due
WITH RECURSIVE {{places}},
{{chosen}}
SELECT d.id, d.workspace, d.host, d.url, d.headers, d.body, d.failed_tries, d.kind, d.policy
FROM chosen JOIN webhook_deliveries AS d ON d.number = chosen.number
ORDER BY chosen.place, chosen.next_at, chosen.number;
