"""What an attempt says about as whom, how isolated and how limited it runs."""

import os
from pathlib import Path
from typing import Any

import pytest
from runtime_harness import RuntimeHarness

from taskyard.core.access.work_identity import Identity, Sandbox
from taskyard.core.attempts import Confinement, confinement_in
from taskyard.core.resources import Resources
from taskyard.core.states import AttemptState, Reason

pytestmark = pytest.mark.anyio
LIMITS = Resources(cpu_millis=2000, memory_bytes=256 << 20, pids=64)


async def test_both_reports_say_it(harness: RuntimeHarness) -> None:
    """The start, for who looks meanwhile, and the end, in case the start is never reported."""
    assignment = await harness.start("true", resources=LIMITS)
    told = confinement_in((await harness.started(assignment)).handle)
    assert told is not None
    assert (await harness.ended(assignment)).confinement == told
    assert told.user == str(os.geteuid())
    assert told.isolation == "none"


async def test_limits_are_told_by_whether_they_are_enforced(harness: RuntimeHarness) -> None:
    """Every one that was asked for is on one of the two lists, and no other."""
    ended = await harness.run("true", resources=LIMITS)
    told = ended.confinement
    assert told is not None
    assert harness.runtime.supervisor is not None
    can = set(harness.runtime.supervisor.enforced)
    assert set(told.enforced) == {"cpu", "memory", "pids"} & can
    assert set(told.unenforced) == {"cpu", "memory", "pids"} - can
    assert len(told.warnings) == len(told.unenforced)
    assert (await harness.run("true")).confinement == Confinement(user=str(os.geteuid()))


async def test_a_strict_task_does_not_run_without_its_limits(harness: RuntimeHarness) -> None:
    """It fails, and says which limit it is; without limits there is nothing to be strict about."""
    assert harness.runtime.supervisor is not None
    missing = {"cpu", "memory", "pids"} - set(harness.runtime.supervisor.enforced)
    ended = await harness.run("true", resources=LIMITS, strict=True)
    if missing:
        assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)
        assert ended.message is not None
        assert all(name in ended.message for name in missing)
        assert "strict" in ended.message
    else:
        assert ended.state is AttemptState.SUCCEEDED
    assert (await harness.run("true", strict=True)).state is AttemptState.SUCCEEDED


async def test_without_cgroups_nothing_is_enforced(tmp_path: Path) -> None:
    """So that a machine with cgroups does not hide the other case."""
    harness = RuntimeHarness(tmp_path, use_cgroups=False)
    await harness.open()
    try:
        ended = await harness.run("true", resources=LIMITS)
        assert ended.confinement is not None
        assert ended.confinement.unenforced == ("cpu", "memory", "pids")
        strict = await harness.run("true", resources=LIMITS, strict=True)
        assert strict.reason is Reason.START_FAILED
    finally:
        await harness.close()


@pytest.mark.root
async def test_another_user_is_told(field: RuntimeHarness) -> None:
    """By number."""
    if os.geteuid() != 0:
        pytest.skip("needs root rights")
    ended = await field.run("true", identity=Identity(1_900_000_007, 1_900_000_007))
    assert ended.confinement is not None
    assert (ended.confinement.user, ended.confinement.isolation) == ("1900000007", "user")


@pytest.mark.bubblewrap
@pytest.mark.parametrize("how", [{"isolate": True}, {"sandbox": Sandbox(())}], ids=["own", "ours"])
async def test_a_sandbox_is_told(field: RuntimeHarness, how: dict[str, Any]) -> None:
    """Whoever wanted it."""
    assignment = await field.start("true", **how)
    await field.started_in_sandbox(assignment)
    told = (await field.ended(assignment)).confinement
    assert told is not None
    assert told.isolation == "sandbox"
