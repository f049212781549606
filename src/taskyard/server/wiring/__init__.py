"""Builds the engine out of its services and the adapters they stand on; starts nothing."""
