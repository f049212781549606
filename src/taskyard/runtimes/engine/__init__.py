"""The client of Docker's HTTP API, which Podman speaks too: what containers and images share."""
