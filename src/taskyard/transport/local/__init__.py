"""The transport within one process."""

from taskyard.transport.local.messages import LocalMessageHub, local_message_hub
from taskyard.transport.local.transport import LocalTransport

__all__ = ["LocalMessageHub", "LocalTransport", "local_message_hub"]
