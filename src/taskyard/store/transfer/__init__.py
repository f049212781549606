"""Moving whole stores: from one database to another, into an archive, and out of one.

1. Rows are read table by table, in order of their keys, from one snapshot. Which tables and columns
   there are is asked of the databases themselves; both sides must say the same.
2. A target is filled where nobody can take it for a store: a file under another name (SQLite), or
   a schema with a mark that servers refuse to open (PostgreSQL). Rows and how far the copy has come
   are committed together, so that a copy that was killed goes on where it was.
3. At the end every table of both sides is read again and compared by count and checksum. Only then
   does the target become a store.
"""
