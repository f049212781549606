"""What other task queues reach on this machine, each measured by a script of its own.

The scripts run in their own virtual environment (`requirements.txt`), import nothing of Taskyard
and print one JSON object. All do the same through `harness.Peer`: enqueue no-ops with nobody
listening, then run no-ops with two worker processes from the first enqueue to the last one done.
"""
