"""Stores: adapters that keep the truth durably."""
