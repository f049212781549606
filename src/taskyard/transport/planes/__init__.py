"""Workers and their output beside any control plane, reached by messages from every other one."""

from taskyard.transport.planes.transport import PlaneTransport

__all__ = ["PlaneTransport"]
