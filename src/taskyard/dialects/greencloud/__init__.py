"""The GreenCloud dialect: functions, their executions, and what hangs on them.

A GreenCloud *task* is a call of a function that was issued under an id of its own. Who asks is
found out first (``accounts.py``), then Litestar finds the route. What departs from the original,
and why, is in ``docs/reference/greencloud.md``.
"""
