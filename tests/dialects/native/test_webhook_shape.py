"""What webhooks send is what the native API answers, so that one reader serves both."""

import json
from typing import Any

import msgspec
import pytest

from taskyard.core.attempts import Attempt, KillReport, Survivor, Usage
from taskyard.core.functions.functions import FunctionId
from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, TaskId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.notifications.webhook_payload import payload
from taskyard.core.resources import Resources
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import (
    Command,
    Container,
    FunctionCall,
    Simulation,
    Task,
    TaskSpec,
    Volume,
    WebhookEvent,
    Work,
)
from taskyard.dialects.native.answers_tasks import attempt_answer, task_answer

NOW = Instant(1_700_000_000_123_456)
ATTEMPT = Attempt(
    id=AttemptId("a"),
    task_id=TaskId("t"),
    workspace=WorkspaceName("w"),
    number=1,
    worker_id=WorkerId("w1"),
    incarnation=IncarnationId("i"),
    lease_token=LeaseToken("l"),
    lease_expires_at=NOW,
    resources=Resources(cpu_millis=500),
    state=AttemptState.KILLED,
    assigned_at=NOW,
    exit_code=3,
    reason=Reason.KILLED,
    kill_report=KillReport(NOW, NOW, "SIGTERM", survivors=(Survivor(7, "sleep"),)),
    usage=Usage(0.5, 0.25, 1024),
)


def contained(sent: Any, answered: Any) -> bool:
    """Whether all that was sent is answered alike; answers may have more members."""
    if isinstance(sent, dict):
        return all(key in answered and contained(sent[key], answered[key]) for key in sent)
    if isinstance(sent, list):
        return len(sent) == len(answered) and all(map(contained, sent, answered))
    same: bool = sent == answered
    return same


@pytest.mark.parametrize(
    "work",
    [
        Command(argv=("make", "all"), env={"A": "b"}, cwd="/srv"),
        Command(shell="a | b", user="nobody", network=False),  # noqa: S604 - not run
        Container(image="busybox", args=("x",), volumes=(Volume("/a", "/b", False),)),
        FunctionCall(FunctionId("f"), "hello", 3),
        Simulation(2.0),
    ],
)
def test_webhooks_send_what_is_answered(work: Work) -> None:
    """Every member of the payload is one of the answer, with the same value."""
    spec = TaskSpec(work=work, resources=Resources(cpu_millis=500), metadata={"a": [1]})
    task = Task(
        seq=1,
        id=TaskId("t"),
        workspace=WorkspaceName("w"),
        spec=spec,
        state=TaskState.CANCELLED,
        created_at=NOW,
        attempt_count=1,
        finished_at=NOW,
        reason=Reason.KILLED,
    )
    sent = json.loads(payload(task, ATTEMPT, WebhookEvent.FINISHED, NOW))["data"]
    answered = {
        "task": json.loads(msgspec.json.encode(task_answer(task, exit_code=3))),
        "attempt": json.loads(msgspec.json.encode(attempt_answer(ATTEMPT))),
    }
    assert contained(sent, answered)
    assert not contained({"task": {"state": "queued"}}, answered)
