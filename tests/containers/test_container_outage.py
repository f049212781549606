"""What is remembered of an engine's outage over restarts."""

from pathlib import Path

import pytest
from container_harness import ContainerHarness

from enginegate import gate
from engines import RealEngine
from eventually import eventually_async
from taskyard.core.instants import Instant
from taskyard.core.states import Reason
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.runtimes.container.outage import ABSENCE, EVER, Outage, OutageRecord

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120), pytest.mark.xdist_group("containers")]


async def test_an_absence_outlives_a_restart(tmp_path: Path) -> None:
    """It lasts until the engine is back, however often we begin again."""
    first = OutageRecord(tmp_path / "engine")
    await first.load()
    assert first.last is None
    await first.begin(Instant(5))
    await first.begin(Instant(7))
    second = OutageRecord(tmp_path / "engine")
    await second.load()
    assert second.last == Outage(Instant(5))
    await second.begin(EVER)
    await second.end(Instant(9))
    await second.end(Instant(11))
    third = OutageRecord(tmp_path / "engine")
    await third.load()
    assert third.last == Outage(Instant(5), Instant(9))


async def test_a_damaged_record_is_as_good_as_none(tmp_path: Path) -> None:
    """Nobody fails for it, and the next outage replaces it."""
    (tmp_path / ABSENCE).write_bytes(b'{"lost')
    record = OutageRecord(tmp_path)
    await record.load()
    assert record.last is None
    await record.begin(Instant(1))
    assert b"lost_at" in (tmp_path / ABSENCE).read_bytes()


async def test_a_place_that_cannot_be_written_is_survived(tmp_path: Path) -> None:
    """It is remembered in this life at least."""
    (tmp_path / "file").write_text("no directory")
    record = OutageRecord(tmp_path / "file")
    await record.begin(Instant(1))
    assert record.last == Outage(Instant(1))


async def test_what_ended_while_engine_and_we_were_away_is_nobodys_fault(
    harness: ContainerHarness, engine: RealEngine
) -> None:
    """A container that went down meanwhile; one that ended by itself keeps its own end."""
    downed = await harness.start("sleep 600")
    own = await harness.start("sleep 1; exit 9")
    handles = [(one, (await harness.started(one)).handle) for one in (downed, own)]
    await harness.ended(own)
    await harness.runtime.close()
    engine.kill_container(f"taskyard-{downed.attempt_id}")
    engine.stop()
    with pytest.raises(RuntimeUnavailable):
        await harness.reopen()
    engine.start()
    await harness.reopen()
    for assignment, handle in handles:
        await harness.adopt(assignment, handle)
    assert (await harness.ended(downed)).reason is Reason.RUNTIME_TROUBLE
    ended = await harness.ended(own)
    assert (ended.reason, ended.exit_code) == (Reason.EXIT_CODE, 9)


async def test_an_engine_that_is_about_to_stop_takes_the_blame(
    engine: RealEngine, tmp_path: Path
) -> None:
    """It takes no new connections while it ends its containers; a restart changes nothing."""
    with gate(engine.socket) as found:
        harness = ContainerHarness(tmp_path, engine, url=f"tcp://127.0.0.1:{found.port}")
        await harness.open()
        assignment = await harness.start("sleep 600")
        handle = (await harness.started(assignment)).handle
        found.refuse()
        engine.kill_container(f"taskyard-{assignment.attempt_id}")
        await eventually_async((tmp_path / "containers" / ABSENCE).exists)
        assert not harness.ear.ends
        await harness.runtime.close()
    later = ContainerHarness(tmp_path, engine)
    await later.open()
    try:
        await later.adopt(assignment, handle)
        assert (await later.ended(assignment)).reason is Reason.RUNTIME_TROUBLE
    finally:
        await later.close()
