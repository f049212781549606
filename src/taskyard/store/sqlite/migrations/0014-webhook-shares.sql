-- Messages that are due are looked for workspace by workspace, so that one cannot hide another's.

DROP INDEX webhook_deliveries_due_of_host;

CREATE INDEX webhook_deliveries_due_of_host ON webhook_deliveries (workspace, host, next_at)
WHERE state = 'pending';

CREATE INDEX webhook_deliveries_due_of_workspace ON webhook_deliveries (workspace, next_at)
WHERE state = 'pending';
