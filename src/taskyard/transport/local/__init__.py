"""The transport within one process."""

from taskyard.transport.local.transport import LocalTransport

__all__ = ["LocalTransport"]
