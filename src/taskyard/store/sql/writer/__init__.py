"""The one writer: a store server, in a process of its own or on a thread, and its client."""
