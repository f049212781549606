-- Versions that are images: the image's name as deployed, and what it stood for when it was pulled.

ALTER TABLE function_versions ADD COLUMN image TEXT NOT NULL DEFAULT '';
ALTER TABLE function_versions ADD COLUMN digest TEXT;

CREATE INDEX function_versions_images ON function_versions (function_id, number)
    WHERE image <> '';
