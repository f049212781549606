"""Reports outlive the worker's process, and are sent again by the next one."""

import os
from pathlib import Path

import anyio
import pytest
from worker_world import DEADLINE_S, Engine, World, assignment

from eventually import eventually_async
from taskyard.core.attempts import Attempt, Ended, Progress, Report, Started
from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, WorkerId
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState
from taskyard.ports.errors import Unreachable
from taskyard.ports.transport import Hello
from taskyard.transport.local import LocalTransport
from taskyard.worker import spool as spools
from taskyard.worker.spool import Spool, SpooledTransport

pytestmark = pytest.mark.anyio

HELLO = Hello(WorkerId("w1"), IncarnationId("i1"), "h", "0", Capacity(1, 1, 1), ())


def _ended(name: str, size: int = 1) -> Ended:
    return Ended(
        AttemptId(name),
        LeaseToken(f"lease-{name}"),
        Instant(1),
        AttemptState.SUCCEEDED,
        inline_output={"stdout": b"x" * size},
    )


def _started(name: str) -> Started:
    return Started(AttemptId(name), LeaseToken(f"lease-{name}"), Instant(0))


def _left(path: Path) -> list[Report]:
    spool = Spool(path)
    try:
        return spool.open()
    finally:
        spool.close()


def test_what_waits_is_there_after_a_crash(tmp_path: Path) -> None:
    """And what is settled is not; once nothing waits the file is empty."""
    path = tmp_path / "spool"
    spool = Spool(path)
    assert spool.open() == []
    spool.add([_started("a"), _ended("a")])
    spool.add([_ended("b"), Progress(AttemptId("b"), LeaseToken("l"), Instant(1), 0.5)])
    assert _left(path) == [_started("a"), _ended("a"), _ended("b")]
    # As it was opened above it is another file now: only one process has it at a time.
    spool.close()
    again = Spool(path)
    again.open()
    again.settle([_started("a"), _ended("a")])
    again.settle([_ended("b")])
    assert path.stat().st_size == 0
    assert _left(path) == []
    again.close()


def test_what_is_sent_again_is_written_once(tmp_path: Path) -> None:
    """However often delivering fails."""
    path = tmp_path / "spool"
    spool = Spool(path)
    spool.open()
    for _ in range(5):
        spool.add([_ended("a")])
    size_bytes = path.stat().st_size
    spool.add([_ended("b")])
    assert path.stat().st_size == 2 * size_bytes
    spool.close()


def test_half_a_record_costs_that_one_only(tmp_path: Path) -> None:
    """Also one that is damaged; nothing that was appended later is hidden behind it."""
    path = tmp_path / "spool"
    spool = Spool(path)
    spool.open()
    spool.add([_ended("a")])
    spool.close()
    whole = path.read_bytes()
    for left in (b"\x01", whole[:-1], b"\xff" * 100, whole[:8] + b"\x00" * (len(whole) - 8)):
        path.write_bytes(whole + left)
        again = Spool(path)
        assert again.open() == [_ended("a")]
        again.add([_ended("b")])
        again.close()
        assert _left(path) == [_ended("a"), _ended("b")]


def test_file_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though there is always something that waits."""
    monkeypatch.setattr(spools, "GROWN_BYTES", 10_000)
    path = tmp_path / "spool"
    spool = Spool(path)
    spool.open()
    spool.add([_ended("first")])
    for number in range(500):
        spool.add([_ended(f"a{number}", 100)])
        spool.settle([_ended(f"a{number}", 100)])
        assert path.stat().st_size < 11_000
    spool.close()
    # Some that are settled are sent again then, which changes nothing.
    assert _left(path)[0] == _ended("first")


def test_full_disk_keeps_nothing_from_being_reported(tmp_path: Path) -> None:
    """What could not be written is not half there."""
    path = tmp_path / "spool"
    spool = Spool(path)
    spool.open()
    spool.add([_ended("a")])
    real = spool._file
    with Path("/dev/full").open("ab") as full:
        spool._file = full.fileno()
        monkey = pytest.MonkeyPatch()
        monkey.setattr(os, "ftruncate", lambda *_: None)
        spool.add([_ended("b")])
        monkey.undo()
    spool._file = real
    spool.settle([_ended("b")])
    spool.close()
    assert _left(path) == [_ended("a")]


async def test_next_process_reports_first(tmp_path: Path) -> None:
    """Before it joins: or what has ended would be handed back as if it ran."""
    path, order = tmp_path / "spool", list[str]()

    class Ordered(Engine):
        async def joined(self, hello: Hello) -> list[Attempt]:
            order.append("joined")
            return await super().joined(hello)

        async def report(self, reports: list[Report]) -> list[LeaseToken]:
            order.append("report")
            if order.count("report") == 1:
                raise Unreachable("no control plane yet")
            return await super().report(reports)

    before = Spool(path)
    before.open()
    before.add([_ended("a")])
    before.close()
    engine, inner = Ordered(), LocalTransport()
    await inner.serve(engine)
    transport = SpooledTransport(inner, Spool(path))
    world = World(tmp_path)
    up = await transport.connect(WorkerId("w1"), world.worker)
    with anyio.fail_after(DEADLINE_S):
        await up.joined(HELLO)
    assert order == ["report", "report", "joined"]
    assert engine.reports == [_ended("a")]
    await up.joined(HELLO)
    assert order[3:] == ["joined"]
    await transport.close()
    assert _left(path) == []


async def test_reports_that_nobody_can_take_in_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while: the worker has to work again. They stay while nobody is reached."""
    monkeypatch.setattr(spools, "_AGAIN_S", (0.001, 0.002))
    path = tmp_path / "spool"
    before = Spool(path)
    before.open()
    before.add([_ended("a")])
    before.close()
    engine, inner = Engine(), LocalTransport()
    engine.fail_reports = 10_000
    await inner.serve(engine)
    transport = SpooledTransport(inner, Spool(path))
    up = await transport.connect(WorkerId("w1"), World(tmp_path).worker)
    with anyio.fail_after(DEADLINE_S):
        await up.joined(HELLO)
    assert engine.fail_reports == 10_000 - spools.TRIES
    await transport.close()


async def test_worker_spools_what_it_cannot_report(tmp_path: Path) -> None:
    """From its reports to the file, and out of it again."""
    world, path = World(tmp_path), tmp_path / "spool"
    await world.transport.serve(world.engine)
    world.worker._transport = SpooledTransport(world.transport, Spool(path))
    await world.worker.start()
    try:
        world.engine.gate = anyio.Event()
        await world.worker.assign([assignment("a")])
        world.runtime.end(AttemptId("a"))
        with anyio.fail_after(DEADLINE_S):
            await eventually_async(lambda: path.stat().st_size > 0)
            world.engine.gate.set()
            await eventually_async(lambda: path.stat().st_size == 0)
    finally:
        await world.worker.stop()
    assert [one.attempt_id for one in world.engine.ends()] == ["a"]
