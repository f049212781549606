-- What says in which order an output came counts as output.

DROP TRIGGER attempts_output_known;
DROP TRIGGER attempts_output_gone;
ALTER TABLE attempts DROP COLUMN output_bytes;

ALTER TABLE attempts ADD COLUMN output_bytes INTEGER GENERATED ALWAYS AS (
    CASE WHEN json_valid(outcome) THEN
        coalesce(json_extract(outcome, '$.stdout.stored_bytes'), 0)
        + coalesce(json_extract(outcome, '$.stderr.stored_bytes'), 0)
        + coalesce(json_extract(outcome, '$.order_bytes'), 0)
    ELSE 0 END
) VIRTUAL;

CREATE TRIGGER attempts_output_known AFTER UPDATE OF outcome ON attempts
WHEN new.output_bytes != old.output_bytes
BEGIN
    INSERT INTO output_totals (workspace, stored_bytes)
    VALUES (new.workspace, new.output_bytes - old.output_bytes)
    ON CONFLICT (workspace) DO UPDATE SET stored_bytes = stored_bytes + excluded.stored_bytes;
END;

CREATE TRIGGER attempts_output_gone AFTER DELETE ON attempts WHEN old.output_bytes != 0
BEGIN
    UPDATE output_totals SET stored_bytes = stored_bytes - old.output_bytes
    WHERE workspace = old.workspace;
END;
