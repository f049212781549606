"""Use cases: what the engine does, in terms of the ports."""
