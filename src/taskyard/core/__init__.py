"""The pure core: what a task is, which states it passes through, and every decision about it.

Nothing here does I/O, reads a clock or draws a random number: ``now`` and ids are arguments,
randomness arrives as a number between 0 and 1. Records are frozen ``msgspec.Struct`` classes
(ADR 0002); instants are integer microseconds since the Unix epoch, UTC (ADR 0003).
"""
