"""What tests remove after servers that they killed; here because it takes one to see it."""

import os
import signal
from pathlib import Path

import pytest
from pasture import Pasture, alive

from leftovers import remove_leftovers

pytestmark = [pytest.mark.anyio, pytest.mark.cgroups]


@pytest.mark.parametrize("is_killed", [False, True])
async def test_nothing_is_left_of_a_killed_server(tmp_path: Path, is_killed: bool) -> None:
    """Neither cgroups nor commands, whether their supervisor lives or was killed as well."""
    pasture = Pasture(tmp_path, linger_s=600)
    await pasture.open()
    pasture.need_cgroups()
    started = await pasture.started(await pasture.start("sleep", "600"))
    pid = pasture.shepherd_pid
    if is_killed:
        os.kill(pid, signal.SIGKILL)
    await pasture.runtime.close()
    removed = remove_leftovers(tmp_path)
    assert removed
    assert not any(path.exists() for path in removed)
    assert not alive(started.handle["pid"])
    assert not alive(pid)
    assert remove_leftovers(tmp_path) == []
