"""Waiting for output to grow, on either event loop."""

from collections import Counter
from pathlib import Path

import anyio
import pytest

from taskyard.core.ids import AttemptId
from taskyard.ports.logs import Stream
from taskyard.worker.output.log_files import LogFiles

pytestmark = pytest.mark.anyio

NAMES = [AttemptId(f"01988a00-0000-7000-8000-00000000000{number}") for number in range(1, 9)]


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The loop that servers use, and Python's own."""
    return "asyncio", {"use_uvloop": request.param}


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"xy")


@pytest.mark.parametrize("poll_s", [0.0, 0.0001, 0.0004, 0.002])
async def test_many_followers_hear_of_all_growth(tmp_path: Path, poll_s: float) -> None:
    """However soon the next look is due: within half a millisecond timers are of another kind."""
    files = LogFiles(tmp_path, poll_s=poll_s)
    heard = Counter[AttemptId]()

    async def follow(name: AttemptId) -> None:
        offset = 0
        while offset < 100:
            await files.changed(name, 5, offset)
            data = await files.read(name, Stream.STDOUT, offset, 100)
            offset += len(data)
        heard[name] += 1

    with anyio.fail_after(20):
        async with anyio.create_task_group() as followers:
            for name in NAMES:
                (tmp_path / name).mkdir()
                (tmp_path / name / "stdout").touch()
                (tmp_path / name / "meta.json").write_text('{"log_limit_bytes": 1000}')
                for _ in range(4):
                    followers.start_soon(follow, name)
            for _ in range(50):
                for name in NAMES:
                    _append(tmp_path / name / "stdout")
                await anyio.sleep(0.0003)
    assert heard == dict.fromkeys(NAMES, 4)
