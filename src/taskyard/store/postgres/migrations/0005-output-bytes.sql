-- Most attempts keep no output, and it takes longer to look for three numbers by their patterns than
-- to write the row. So that is done only where there are any.

ALTER TABLE attempts DROP COLUMN output_bytes;

ALTER TABLE attempts ADD COLUMN output_bytes bigint GENERATED ALWAYS AS (
    CASE WHEN strpos(outcome, 'stored_bytes":') > 0 OR strpos(outcome, 'order_bytes":') > 0 THEN
        coalesce(substring(outcome FROM '"stdout":\{[^{}]*"stored_bytes":([0-9]{1,18})')::bigint, 0)
        + coalesce(substring(outcome FROM '"stderr":\{[^{}]*"stored_bytes":([0-9]{1,18})')::bigint, 0)
        + coalesce(substring(outcome FROM '"order_bytes":([0-9]{1,18})')::bigint, 0)
    ELSE 0 END
) STORED;
