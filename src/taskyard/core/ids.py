"""The kinds of identifiers. Each is text; the type says which kind a function wants."""

import uuid
from typing import Final, NewType

TaskId = NewType("TaskId", str)
"""UUID version 7 in canonical form; sorts by submission time."""

AttemptId = NewType("AttemptId", str)
"""UUID version 7 in canonical form."""

WorkspaceName = NewType("WorkspaceName", str)
"""The tenant boundary; ``[a-z0-9][a-z0-9_-]{0,62}``."""

GroupName = NewType("GroupName", str)
"""The free-form name tasks are filed under; 1 to 255 characters."""

WorkerId = NewType("WorkerId", str)
"""Stable name of a machine's worker; survives restarts of its process."""

IncarnationId = NewType("IncarnationId", str)
"""One life of a worker process; never reused."""

LeaseToken = NewType("LeaseToken", str)
"""Proof of the right to report on an attempt; unguessable, void once the lease is fenced."""

PlaneId = NewType("PlaneId", str)
"""Stable name of a control plane; survives restarts of its process."""

Term = NewType("Term", int)
"""Number of a leadership, counted from 1; a later leader always has a greater one."""

_NODES: Final = uuid.UUID("5b6f3f0a-3d55-4a8e-9d5e-0c3f8f0f6f11")


def node_id(worker_id: WorkerId) -> str:
    """The UUID that a worker goes by where names are not wanted; always the same."""
    return str(uuid.uuid5(_NODES, worker_id))
