"""The embedded store: SQLite behind one writer with group commit."""
