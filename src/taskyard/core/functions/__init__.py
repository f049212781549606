"""Functions, what belongs to them, and their invocations."""
