"""The worker: accepts assignments, supervises attempts, keeps their logs, heartbeats."""
