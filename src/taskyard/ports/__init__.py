"""Ports: what the services need from the outside, as protocols. Adapters implement them."""
