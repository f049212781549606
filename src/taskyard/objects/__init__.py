"""Object stores, and what is kept in them: output that has ended, large results, bundles."""
