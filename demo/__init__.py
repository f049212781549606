"""A tour of Taskyard on a server of its own that ends with it: ``python -m demo``."""
