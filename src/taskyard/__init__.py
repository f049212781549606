"""Taskyard: a durable task execution service."""

__version__ = "0.1.0.dev0"
