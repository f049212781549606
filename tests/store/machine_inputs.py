# ruff: noqa: S604 - ``shell`` is a member of a specification
"""What the store machine is fed with."""

from hypothesis import strategies as st

from taskyard.core.backoff import RetryPolicy
from taskyard.core.ids import (
    GroupName,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import SECOND
from taskyard.core.resources import Resources
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Command, TaskSpec, Webhook, WebhookEvent

START = 1_700_000_000 * SECOND
LOOK_AT = 7
"""So low that pages run out of their share of candidates all the time."""
INDEX = st.integers(0, 5) | st.integers(0, 60)
WORKSPACES = st.sampled_from([WorkspaceName("a"), WorkspaceName("b")])
GROUPS = st.sampled_from([GroupName("default"), GroupName("mail")])
WORKERS = st.sampled_from([WorkerId("w1"), WorkerId("w2")])
OFFSETS = st.sampled_from([-3600, -1, 0, 1, 30, 60, 3600, 86400])
CRONS = st.sampled_from(["0 * * * *", "*/30 * * * *", "30 2 * * *", "0 0 29 2 *"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"])
LABELS = st.dictionaries(st.sampled_from(["team", "env"]), st.sampled_from(["x", "y"]))
SPECS = st.builds(
    TaskSpec,
    work=st.sampled_from(
        [Command(argv=("make", "report")), Command(shell="exit 1"), Command(argv=("Grüße",))]
    ),
    group=GROUPS,
    name=st.sampled_from([None, "Monthly", "x%_"]),
    priority=st.integers(-2, 2),
    resources=st.sampled_from([Resources(), Resources(500, 1 << 30, 8)]),
    retry=st.builds(
        RetryPolicy, max_attempts=st.integers(1, 3), backoff_min_s=st.sampled_from([0, 1, 60])
    ),
    idempotency_key=st.sampled_from([None, None, None, "k1", "k2"]),
    rerun_if_lost=st.booleans(),
    labels=LABELS,
    metadata=st.sampled_from([{}, {"any": [1, None, "ü"]}]),
    webhooks=st.sampled_from([(), (), (Webhook("http://h.example/", tuple(WebhookEvent)),)]),
)
ENDS = st.sampled_from(
    [
        (AttemptState.SUCCEEDED, None, 0),
        (AttemptState.FAILED, Reason.EXIT_CODE, 1),
        (AttemptState.FAILED, Reason.RUNTIME_TROUBLE, None),
        (AttemptState.KILLED, Reason.KILLED, None),
        (AttemptState.LOST, Reason.EXIT_UNKNOWN, None),
    ]
)
