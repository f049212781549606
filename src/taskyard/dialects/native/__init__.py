"""The native dialect: Taskyard's own API under ``/api/v1``."""
