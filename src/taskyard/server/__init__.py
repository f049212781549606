"""The server: assembles everything into one process and serves it."""
