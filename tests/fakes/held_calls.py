"""A call of a function as its worker holds it, and the version that it needs."""

from taskyard.core.functions.functions import (
    BuildState,
    CallRequest,
    FunctionId,
    Language,
    Version,
)
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.tasks import FunctionCall
from taskyard.ports.runtime import Assignment

FUNCTION = FunctionId("f" * 24)
VERSION = Version(
    function_id=FUNCTION,
    number=1,
    state=BuildState.READY,
    bundle="b" * 64,
    size_bytes=7,
    language=Language.PYTHON,
    handler="handler.py",
    entry="handle",
    dependencies=(),
    created_at=Instant(0),
    created_by="me",
)


def call(attempt_id: str) -> Assignment:
    """An assignment of an attempt with this id at a call of version 1."""
    return Assignment(
        attempt_id=AttemptId(attempt_id),
        task_id=TaskId("task"),
        workspace=WorkspaceName("default"),
        group="group",
        number=1,
        lease_token=LeaseToken(f"lease-{attempt_id}"),
        assigned_at=Instant(0),
        work=FunctionCall(function="f", function_id=FUNCTION, version=1, request=CallRequest()),
        resources=Resources(),
        timeout_s=None,
        kill_signal="SIGTERM",
        kill_grace_s=5.0,
        log_limit_bytes=1000,
    )
