"""The writer in a process of its own, and how the process that serves talks to it."""
