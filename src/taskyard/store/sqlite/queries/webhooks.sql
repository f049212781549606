-- name: due
-- Due messages: of each workspace the longest due first, at most :of_host of each host; all
-- workspaces' first ones first. Walks by the index from host to host, and after :hosts of them to the
-- next workspace, so that neither a thousand messages for one slow host nor a workspace with
-- thousands of hosts cost more than a few. So that no host is passed over forever, what a workspace
-- has room for besides goes to its longest due ones of whatever host.
WITH RECURSIVE places (workspace, host, count) AS (
    SELECT * FROM (
        SELECT workspace, host, 1 FROM webhook_deliveries WHERE state = 'pending'
        ORDER BY workspace, host LIMIT 1
    )
    UNION ALL
    SELECT d.workspace, d.host, iif(d.workspace = places.workspace, places.count + 1, 1)
    FROM places CROSS JOIN webhook_deliveries AS d ON d.number = (
        SELECT n.number FROM webhook_deliveries AS n
        WHERE n.state = 'pending' AND (n.workspace, n.host)
            > (places.workspace, iif(places.count < :hosts, places.host, char(1114111)))
        ORDER BY n.workspace, n.host LIMIT 1
    )
),
candidates (number, rest) AS (
    SELECT d.number, 0 FROM places CROSS JOIN webhook_deliveries AS d ON d.number IN (
        SELECT p.number FROM webhook_deliveries AS p
        WHERE p.state = 'pending' AND p.workspace = places.workspace AND p.host = places.host
            AND p.next_at <= :now
        ORDER BY p.next_at LIMIT :of_host
    )
    UNION ALL
    SELECT d.number, 1 FROM places CROSS JOIN webhook_deliveries AS d ON d.number IN (
        SELECT p.number FROM webhook_deliveries AS p
        WHERE p.state = 'pending' AND p.workspace = places.workspace AND p.next_at <= :now
        ORDER BY p.next_at LIMIT :of_workspace
    )
    WHERE places.count = :hosts
),
ranked (number, next_at, place) AS (
    SELECT d.number, d.next_at,
        row_number() OVER (PARTITION BY d.workspace ORDER BY c.rest, d.next_at, d.number)
    FROM (SELECT number, min(rest) AS rest FROM candidates GROUP BY number) AS c
    CROSS JOIN webhook_deliveries AS d ON d.number = c.number
)
SELECT d.id, d.workspace, d.host, d.url, d.headers, d.body, d.failed_tries, d.kind, d.policy
FROM (
    SELECT number, next_at, place FROM ranked WHERE place <= :of_workspace
    ORDER BY place, next_at, number LIMIT :limit
) AS chosen CROSS JOIN webhook_deliveries AS d ON d.number = chosen.number
ORDER BY chosen.place, chosen.next_at, chosen.number;
