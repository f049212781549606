"""The asynchronous client, from which ``tools/unasync.py`` makes the synchronous one."""
