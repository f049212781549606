"""Runtimes: adapters that execute one kind of work each."""
