-- Rust and C# have no tool chain any more: what was built of their source cannot be called.

UPDATE function_versions SET state = 'failed', message =
    'it was deployed as source, but functions in '
    || CASE language WHEN 'rust' THEN 'Rust' ELSE 'C#' END
    || ' are container images; `taskyard function init NAME --language ' || language
    || '` writes the source of one'
WHERE language IN ('rust', 'csharp') AND image = ''
AND state IN ('pending', 'building', 'ready', 'retired');
