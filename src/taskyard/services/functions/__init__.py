"""Functions: deploying and building versions, calls, invocations, triggers."""
