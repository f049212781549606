-- The limit that a list has put on its group, to tell it from one that somebody set since.

ALTER TABLE lists ADD COLUMN given_limit INTEGER;

UPDATE lists SET given_limit = (
    SELECT concurrency_limit FROM groups
    WHERE groups.workspace = lists.workspace AND groups.name = lists.group_name
);
