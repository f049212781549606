"""Objects in PostgreSQL: no further service is needed beside the database of the store."""
