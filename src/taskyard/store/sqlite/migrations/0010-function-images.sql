-- Versions that are images: the image's name as deployed, what it stood for when it was pulled, and
-- the secret with credentials for its registry.

ALTER TABLE function_versions ADD COLUMN image TEXT NOT NULL DEFAULT '';
ALTER TABLE function_versions ADD COLUMN digest TEXT;
ALTER TABLE function_versions ADD COLUMN credentials TEXT NOT NULL DEFAULT '';

CREATE INDEX function_versions_images ON function_versions (function_id, number)
    WHERE image <> '';
