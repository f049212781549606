"""What the store does, written once for every database; a database's own words are beside it."""
