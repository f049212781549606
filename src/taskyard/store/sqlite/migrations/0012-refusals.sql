-- Refused attempts are gathered, and have a share of the audit trail of their own.

ALTER TABLE audit ADD COLUMN count INTEGER NOT NULL DEFAULT 1;

CREATE INDEX audit_by_outcome ON audit (workspace, outcome, number);
