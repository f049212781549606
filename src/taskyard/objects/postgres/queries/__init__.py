"""Named queries of objects."""
