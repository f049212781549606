"""Removing images that are not used any more, on real engines."""

from pathlib import Path

import pytest
from container_harness import ContainerHarness

from engines import RealEngine
from taskyard.core.states import AttemptState
from taskyard.core.tasks import PullPolicy
from taskyard.runtimes.container.image_record import ImageRecord
from taskyard.runtimes.engine.settings import PrunePolicy
from taskyard.server.clock import SystemClock

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120), pytest.mark.xdist_group("containers")]


async def test_only_what_was_pulled_and_is_unused_goes(
    harness: ContainerHarness, engine: RealEngine, tmp_path: Path
) -> None:
    """What is used, and what somebody else brought, stays; a restart forgets nothing."""
    for name in ("localhost/old", "localhost/foreign"):
        engine.tag(name)
    record = ImageRecord(tmp_path / "record", SystemClock())
    (tmp_path / "record").mkdir()
    await record.used("localhost/old:latest", pulled=True)
    await record.used("localhost/gone:latest", pulled=True)
    await record.used("localhost/foreign:latest", pulled=False)
    again = ImageRecord(tmp_path / "record", SystemClock())
    await again.load()
    client = harness.runtime.engine
    assert await again.prune(client, PrunePolicy(unused_s=3600)) == []
    assert await again.prune(client, PrunePolicy(cache_bytes=1)) == ["localhost/old:latest"]
    assert await again.prune(client, PrunePolicy(unused_s=0)) == []
    kept = await harness.run("true", image="localhost/foreign", pull=PullPolicy.NEVER)
    assert kept.state is AttemptState.SUCCEEDED
    gone = await harness.run("true", image="localhost/old", pull=PullPolicy.NEVER)
    assert gone.state is AttemptState.FAILED
