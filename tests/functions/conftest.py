"""Function runtimes, held together by cgroups where there are any, and by sessions."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from function_world import FunctionWorld, opened

from taskyard.runtimes.function import completion


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture(params=["cgroup", "session"])
def method(request: pytest.FixtureRequest) -> str:
    """How trees are held together; cgroups only where there are any."""
    return str(request.param)


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call takes long enough to be followed: little output comes with the end of each.

    What takes longer than a moment has it in files, as any call may on a busy machine.
    """
    monkeypatch.setattr(completion, "_LINK_AFTER_S", 300.0)


@pytest.fixture
async def functions(tmp_path: Path, method: str) -> AsyncIterator[FunctionWorld]:
    """An open function runtime; nothing of it is left at the end."""
    async with opened(tmp_path, method=method) as world:
        yield world


@pytest.fixture
async def fast(tmp_path: Path) -> AsyncIterator[FunctionWorld]:
    """The same in the best way this machine offers, for what does not depend on the way."""
    async with opened(tmp_path) as world:
        yield world
