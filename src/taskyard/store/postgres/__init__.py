"""The store on PostgreSQL: its driver, its schema, and the queries that need words of its own."""
