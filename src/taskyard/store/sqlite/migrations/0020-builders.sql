-- Who builds a version, and until when nobody else takes it over.

ALTER TABLE function_versions ADD COLUMN builder TEXT;
ALTER TABLE function_versions ADD COLUMN claimed_until INTEGER;
