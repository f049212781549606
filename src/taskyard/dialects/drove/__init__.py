"""The Drove dialect: the task half of the Drove container orchestrator.

A pair of application name and task id is a task of the engine, filed under the group of that name;
the pair is its idempotency key, so that it is unique for as long as there is a record of it. What
the dialect remembers beyond that is in memory only, and built again from the engine: the tasks that
are active, and the events of the last hour.
"""
