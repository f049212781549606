"""Jobs: definitions whose runs are tasks, and what is due for them by itself."""
