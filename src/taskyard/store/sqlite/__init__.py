"""The embedded store: SQLite behind one writer with group commit, in a server a process of its own."""
