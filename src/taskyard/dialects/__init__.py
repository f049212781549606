"""Dialects: HTTP APIs as views of the one engine. They translate, and own nothing."""
