"""From a ready task to its end on a worker: dispatch, leases, kill, rescue, timers, admission."""
