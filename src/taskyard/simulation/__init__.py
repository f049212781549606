"""The simulator: the scheduler's own code on a virtual clock.

What decides is the product's: ``core.scheduling`` plans, ``services.scheduling.cluster_state``
counts what is held, ``core.outcome`` says what the end of an attempt means. What is invented, or
taken from an installation's history, is what that code meets: when tasks come, how long they take,
which workers come and go. Nothing here does I/O or reads a clock. Chance is drawn from counters, so
that the same seed gives the same result, and a scenario that is changed in one place draws the same
numbers everywhere else.
"""
