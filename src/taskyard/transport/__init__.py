"""Transports: adapters that carry orders to workers and reports back."""
