"""Ids of the dialect, made from the engine's so that they are the same at every look."""

from functools import lru_cache
from typing import Final
from uuid import UUID, uuid4, uuid5

from taskyard.core.ids import TaskId, WorkerId

_EXECUTORS: Final = UUID("6f7a3a52-7d0c-5d4e-9a30-3f4b0c1d2e5f")
_INSTANCES: Final = UUID("0d4a7b1e-52c8-5b6f-8f3e-9c2d1a6b7e80")
KEY_PREFIX: Final = "drove"


@lru_cache(maxsize=8192)
def executor_id(worker_id: WorkerId) -> str:
    """An executor's id; that of a worker in all its incarnations."""
    return str(uuid5(_EXECUTORS, worker_id))


def new_instance_id() -> str:
    """For a task that is about to be created."""
    return f"TI-{uuid4()}"


def instance_id(task_id: TaskId) -> str:
    """For a task that was not created through this dialect."""
    return f"TI-{uuid5(_INSTANCES, task_id)}"


def key_of(app: str, task_id: str) -> str:
    """The idempotency key that makes a pair unique; neither part has a slash."""
    return f"{KEY_PREFIX}/{app}/{task_id}"
