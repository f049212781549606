"""Which ready task goes to which worker, and why the others wait: pure, from queues and workers."""
