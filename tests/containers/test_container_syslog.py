"""Output of real containers at real log servers, besides the files."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from container_harness import ContainerHarness
from structlog.testing import capture_logs

from engines import RealEngine
from eventually import eventually_async
from receivers import Receiver
from taskyard.core.states import AttemptState
from taskyard.core.tasks import Syslog

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.xdist_group("containers")]


@pytest.fixture
async def harness(engine: RealEngine, tmp_path: Path) -> AsyncIterator[ContainerHarness]:
    """An open container runtime that may send to loopback."""
    harness = ContainerHarness(tmp_path, engine, syslog_to_private=True)
    await harness.open()
    try:
        yield harness
    finally:
        await harness.close()


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("merged", [True, False])
async def test_lines_arrive_and_the_files_are_written(
    harness: ContainerHarness, protocol: str, merged: bool
) -> None:
    """Each line once, with its tag and severity, whatever the engine."""
    script = "for i in 1 2 3; do echo line $i; done; echo bad >&2; echo end"
    with Receiver(protocol) as receiver:
        ended = await harness.run(
            script, syslog=Syslog(receiver.server, "a-TI-1-z"), merge_output=merged
        )
        await eventually_async(lambda: len(receiver.messages) == 5)
        assert sorted(receiver.texts) == [b"bad", b"end", b"line 1", b"line 2", b"line 3"]
        (bad,) = [one for one in receiver.messages if one.endswith(b" a-TI-1-z: bad")]
        assert bad.startswith(b"<27>")
        assert all(one.startswith((b"<30>", b"<27>")) for one in receiver.messages)
    assert ended.state is AttemptState.SUCCEEDED
    kept = await harness.output(ended) + await harness.output(ended, "stderr")
    assert sorted(kept.splitlines()) == [b"bad", b"end", b"line 1", b"line 2", b"line 3"]


async def test_lines_arrive_while_the_container_runs(harness: ContainerHarness) -> None:
    """Not only at its end; and those beyond the limit of the files as well."""
    with Receiver("tcp") as receiver:
        assignment = await harness.start(
            "echo first; echo second; sleep 600",
            syslog=Syslog(receiver.server, "t"),
            log_limit_bytes=3,
        )
        await eventually_async(lambda: receiver.texts == [b"first", b"second"])
        await harness.kill(assignment)
        assert await harness.output(assignment) == b"fir"


async def test_a_restart_repeats_nothing(harness: ContainerHarness) -> None:
    """The next process knows how far this one was, also of a container that has ended."""
    with Receiver("tcp") as receiver:
        assignment = await harness.start(
            "trap 'echo two; exit 0' TERM; echo one; while :; do sleep 0.1; done",
            syslog=Syslog(receiver.server, "t"),
            merge_output=True,
        )
        started = await harness.started(assignment)
        await eventually_async(lambda: receiver.texts == [b"one"])
        await harness.reopen()
        await harness.adopt(assignment, started.handle)
        await harness.kill(assignment, "SIGTERM", 20.0)
        await eventually_async(lambda: receiver.texts == [b"one", b"two"])
        await harness.reopen()
        await harness.adopt(assignment, started.handle)
        await harness.ended(assignment)
        await harness.run("echo last", syslog=Syslog(receiver.server, "t"))
        await eventually_async(lambda: receiver.texts == [b"one", b"two", b"last"])
        assert await harness.output(assignment) == b"one\ntwo\n"


@pytest.mark.parametrize(
    "server", ["tcp://127.0.0.1:1", "udp://127.0.0.1:1", "udp://no-such-host.invalid:514"]
)
async def test_a_server_that_is_not_there_is_no_matter_of_the_task(
    harness: ContainerHarness, server: str
) -> None:
    """It ends as it would, and its files are whole."""
    ended = await harness.run("seq 1 50000; exit 3", syslog=Syslog(server, "t"))
    assert ended.exit_code == 3
    assert (await harness.output(ended)).splitlines()[-1] == b"50000"


async def test_private_servers_are_not_sent_to_unless_allowed(
    engine: RealEngine, tmp_path: Path
) -> None:
    """The task is none the worse."""
    careful = ContainerHarness(tmp_path, engine)
    await careful.open()
    try:
        with Receiver("tcp") as receiver, capture_logs() as logs:
            ended = await careful.run("echo x", syslog=Syslog(receiver.server, "t"))
            assert ended.state is AttemptState.SUCCEEDED
            await eventually_async(
                lambda: any(one["event"] == "log server refused" for one in logs)
            )
            assert receiver.connections == 0
    finally:
        await careful.close()
