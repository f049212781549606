"""What tests remove after servers that they killed; here because it takes one to see it."""

import os
import signal
from pathlib import Path

import pytest
from runtime_harness import RuntimeHarness, alive

from leftovers import remove_leftovers

pytestmark = [pytest.mark.anyio, pytest.mark.cgroups]


@pytest.mark.parametrize("is_killed", [False, True])
async def test_nothing_is_left_of_a_killed_server(tmp_path: Path, is_killed: bool) -> None:
    """Neither cgroups nor commands, whether their supervisor lives or was killed as well."""
    harness = RuntimeHarness(tmp_path, linger_s=600)
    await harness.open()
    harness.need_cgroups()
    started = await harness.started(await harness.start("sleep", "600"))
    pid = harness.supervisor_pid
    if is_killed:
        os.kill(pid, signal.SIGKILL)
    await harness.runtime.close()
    removed = remove_leftovers(tmp_path)
    assert removed
    assert not any(path.exists() for path in removed)
    assert not alive(started.handle["pid"])
    assert not alive(pid)
    assert remove_leftovers(tmp_path) == []
