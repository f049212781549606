"""What the machine of the fairness test draws: queues, demands, policies, pools."""

from hypothesis import strategies as st
from naive_scheduler import GIB

from taskyard.core.ids import GroupName, WorkerId, WorkspaceName
from taskyard.core.resources import Resources
from taskyard.core.scheduling.policies import (
    AnyHost,
    Composite,
    MatchTag,
    MaxPerHost,
    NoTag,
    OnePerHost,
)
from taskyard.core.scheduling.pools import Pool
from taskyard.core.scheduling.queues import QueueKey

WINDOW = 3
LOOK_PAST = 1
WORKSPACES = st.sampled_from([WorkspaceName("a"), WorkspaceName("b"), WorkspaceName("c")])
GROUPS = st.sampled_from([GroupName("g"), GroupName("h"), GroupName("i"), GroupName("j")])
KEYS = st.builds(QueueKey, WORKSPACES, GROUPS)
ASKED = st.sampled_from(
    [
        Resources(),
        Resources(),
        Resources(1000),
        Resources(500, GIB),
        Resources(None, 3 * GIB),
        Resources(slots=0),
        Resources(cores=1),
        Resources(None, GIB, cores=2),
    ]
)
POLICY = st.sampled_from(
    [
        *[None] * 5,
        AnyHost(),
        OnePerHost(),
        MaxPerHost(2),
        MatchTag("gpu"),
        NoTag(),
        Composite((OnePerHost(), MatchTag("gpu"))),
        Composite((NoTag(), Composite((AnyHost(), MaxPerHost(2))))),
    ]
)
INDEX = st.integers(0, 20)
RUNTIME = st.sampled_from(["command", "container", "container", "simulation"])
RUNTIMES = st.sets(st.sampled_from(["container", "simulation"])).map(
    lambda some: frozenset({"command", *some})
)
POOL = st.builds(
    Pool,
    st.sampled_from(["", "g", "[gh]", "j$"]),
    st.frozensets(st.sampled_from([WorkerId("w0"), WorkerId("w1"), WorkerId("w2")]), min_size=1),
    st.none() | st.integers(0, 2),
)
CLOSED = {"no_worker", "draining", "no_runtime", "no_pool", "no_host", "pool_limit"}
SHUT = {*CLOSED, "placement"}
