"""Workers on other machines: what they and the control planes say to one another.

A worker asks at ``engine.WORKER.WHAT``, where any control plane answers; a plane gives its orders
at ``worker.WORKER.WHAT``. What follows for NATS is in ``transport/nats``; here it is only messages.
"""

from taskyard.transport.workers.client import WorkerClient
from taskyard.transport.workers.transport import JoinedTransport

__all__ = ["JoinedTransport", "WorkerClient"]
