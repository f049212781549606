"""Commands that have cores to themselves run there and nowhere else."""

import os
import sys
from pathlib import Path

import anyio
import pytest
from runtime_harness import RuntimeHarness

from taskyard.core.resources import Resources
from taskyard.core.scheduling.cpu_allocation import CpuAllocation
from taskyard.core.states import AttemptState, Reason
from taskyard.runtimes.processes.cgroups import copy_cpuset

pytestmark = pytest.mark.anyio
SHOW = "import os; print(sorted(os.sched_getaffinity(0)))"
ESCAPE = """
import os, sys
try:
    os.sched_setaffinity(0, {%d})
except OSError:
    print("held")
else:
    print("away")
"""


def on(*cores: int, pins_memory: bool = False) -> Resources:
    """These cores to itself."""
    allotted = CpuAllocation(0, cores, pins_memory=pins_memory)
    return Resources(cores=len(cores), allotted=allotted)


def cores_here() -> list[int]:
    """At least two, or there is nothing to tell apart."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 and os.environ.get("CI") != "true":
        pytest.skip("needs two processors")
    assert len(cores) >= 2
    return cores


async def test_a_command_runs_on_its_cores(harness: RuntimeHarness) -> None:
    """Whatever pins it; and what comes after it is not pinned."""
    cores = cores_here()
    for core in cores[:2]:
        ended = await harness.run(sys.executable, "-c", SHOW, resources=on(core))
        assert (await harness.output(ended)).decode() == f"[{core}]\n"
    ended = await harness.run(sys.executable, "-c", SHOW, resources=on(*cores[:2]))
    assert (await harness.output(ended)).decode() == f"{cores[:2]}\n"
    ended = await harness.run(sys.executable, "-c", SHOW)
    assert (await harness.output(ended)).decode() == f"{cores}\n"


async def test_children_are_pinned_too(harness: RuntimeHarness) -> None:
    """However they were forked, and also those that are over-provisioned by number."""
    core = cores_here()[1]
    script = f"{sys.executable} -c '{SHOW}' & wait"
    ended = await harness.run(script=script, resources=on(core + 10_000))
    assert (await harness.output(ended)).decode() == f"[{core}]\n"


@pytest.mark.cgroups
async def test_a_cgroup_holds_what_wants_away(field: RuntimeHarness) -> None:
    """A command cannot take cores that it was not given."""
    field.need_cgroups()
    supervisor = field.runtime.supervisor
    assert supervisor is not None
    if "cpuset" not in supervisor.enforced and os.environ.get("CI") != "true":
        pytest.skip("needs the cpuset controller")
    cores = cores_here()
    resources = on(cores[0], pins_memory=True)
    ended = await field.run(sys.executable, "-c", ESCAPE % cores[1], resources=resources)
    assert await field.output(ended) == b"held\n"
    await field.runtime.release([ended.attempt_id])


async def test_cores_that_are_not_there_are_trouble_of_the_machine(harness: RuntimeHarness) -> None:
    """And not the task's fault; the next command runs."""
    ended = await harness.run("true", resources=on(9999))
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)
    assert (await harness.run("true")).state is AttemptState.SUCCEEDED


async def test_a_new_cpuset_gets_what_its_parent_has(tmp_path: Path) -> None:
    """In version 1 it may use nothing until then; what it has already is left alone."""
    parent, child = anyio.Path(tmp_path / "p"), anyio.Path(tmp_path / "c")
    for directory, texts in ((parent, ("0-3\n", "0\n")), (child, ("\n", "1\n"))):
        await directory.mkdir()
        await (directory / "cpuset.cpus").write_text(texts[0])
        await (directory / "cpuset.mems").write_text(texts[1])
    copy_cpuset(str(parent), str(child))
    assert (await (child / "cpuset.cpus").read_text()).startswith("0-3")
    assert await (child / "cpuset.mems").read_text() == "1\n"
