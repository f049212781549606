"""The simulation runtime: work that is pretended, for a timer each."""
