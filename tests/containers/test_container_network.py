"""Engines that are reached over TCP and TLS."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from container_harness import ContainerHarness

from enginegate import Authority, Gate, gate, tls_gate
from engines import RealEngine
from taskyard.core.attempts import StreamSize
from taskyard.core.states import AttemptState
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.runtimes.engine.address import TlsFiles

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.xdist_group("containers")]


@pytest.fixture(params=["tcp", "tls"])
async def remote(
    request: pytest.FixtureRequest, engine: RealEngine, tmp_path: Path
) -> AsyncIterator[ContainerHarness]:
    """A runtime whose engine is somewhere else."""
    with _remote(request.param, engine, tmp_path) as (harness, _):
        await harness.open()
        try:
            yield harness
        finally:
            await harness.close()


@contextmanager
def _remote(kind: str, engine: RealEngine, root: Path) -> Iterator[tuple[ContainerHarness, Gate]]:
    if kind == "tcp":
        with gate(engine.socket) as found:
            yield ContainerHarness(root, engine, url=f"tcp://127.0.0.1:{found.port}"), found
        return
    authority = Authority(root / "tls", "authority")
    with tls_gate(engine.socket, authority) as found:
        files = TlsFiles(authority.path, *authority.certify("client"))
        yield ContainerHarness(root, engine, url=f"tcp://127.0.0.1:{found.port}", tls=files), found


async def test_output_and_exit_code_arrive(remote: ContainerHarness) -> None:
    """Both streams, every byte."""
    ended = await remote.run("printf 'a\\377b'; echo no >&2; exit 5")
    assert (ended.state, ended.exit_code) == (AttemptState.FAILED, 5)
    assert await remote.output(ended) == b"a\xffb"
    assert await remote.output(ended, "stderr") == b"no\n"


async def test_standard_input_arrives_and_ends(remote: ContainerHarness) -> None:
    """The work sees its end, and what it says afterwards is heard."""
    text = "0123456789\n" * 20_000
    ended = await remote.run("cat; echo over", stdin=text)
    assert (ended.state, ended.exit_code) == (AttemptState.SUCCEEDED, 0)
    assert await remote.output(ended) == text.encode() + b"over\n"


async def test_output_is_there_while_it_runs_and_a_kill_is_proven(remote: ContainerHarness) -> None:
    """As with an engine nearby."""
    assignment = await remote.start("printf now; sleep 600")
    assert await remote.has_written(assignment, b"now") == b"now"
    report = await remote.kill(assignment)
    assert (report.forced, report.survivors) == (True, ())
    assert not remote.runs(assignment)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_a_broken_connection_loses_nothing(
    engine: RealEngine, tmp_path: Path, kind: str
) -> None:
    """Neither output nor the end."""
    with _remote(kind, engine, tmp_path) as (harness, found):
        await harness.open()
        try:
            assignment = await harness.start(
                "i=0; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); sleep 0.05; done; exit 4"
            )
            await harness.has_written(assignment, b"5\n")
            found.cut()
            ended = await harness.ended(assignment)
            assert ended.exit_code == 4
            assert await harness.output(ended) == b"".join(b"%d\n" % n for n in range(40))
        finally:
            await harness.close()


async def test_an_unknown_authority_is_named(engine: RealEngine, tmp_path: Path) -> None:
    """Nobody talks to an engine that somebody else vouches for."""
    authority = Authority(tmp_path / "tls", "authority")
    other = Authority(tmp_path / "tls", "other")
    with tls_gate(engine.socket, authority) as found:
        files = TlsFiles(other.path, *authority.certify("client"))
        harness = ContainerHarness(
            tmp_path, engine, url=f"https://127.0.0.1:{found.port}", tls=files
        )
        with pytest.raises(RuntimeUnavailable, match="certificate") as raised:
            await harness.open()
        assert "container_tls_ca" in str(raised.value)
        assert f"127.0.0.1:{found.port}" in str(raised.value)


@pytest.mark.parametrize("own", ["none", "of another authority"])
async def test_a_missing_or_foreign_certificate_of_our_own_is_named(
    engine: RealEngine, tmp_path: Path, own: str
) -> None:
    """The message says which setting has to be looked at."""
    authority = Authority(tmp_path / "tls", "authority")
    other = Authority(tmp_path / "tls", "other")
    with tls_gate(engine.socket, authority) as found:
        pair = (None, None) if own == "none" else other.certify("stranger")
        files = TlsFiles(authority.path, *pair)
        harness = ContainerHarness(
            tmp_path, engine, url=f"https://127.0.0.1:{found.port}", tls=files
        )
        with pytest.raises(RuntimeUnavailable, match="container_tls_cert") as raised:
            await harness.open()
        assert f"127.0.0.1:{found.port}" in str(raised.value)


async def test_files_that_are_missing_or_no_certificates_are_named(
    engine: RealEngine, tmp_path: Path
) -> None:
    """Before anybody is connected to."""
    bad = tmp_path / "bad.pem"
    await anyio.Path(bad).write_text("nothing")
    good = Authority(tmp_path / "tls", "authority")
    cert, _ = good.certify("client")
    for path in (bad, tmp_path / "none.pem"):
        harness = ContainerHarness(tmp_path, engine, url="https://127.0.0.1:1", tls=TlsFiles(path))
        with pytest.raises(RuntimeUnavailable, match=path.name):
            await harness.open()
        files = TlsFiles(good.path, cert, path)
        harness = ContainerHarness(tmp_path, engine, url="https://127.0.0.1:1", tls=files)
        with pytest.raises(RuntimeUnavailable, match=path.name):
            await harness.open()


async def test_plain_speech_to_tls_and_the_other_way_round_says_so(
    engine: RealEngine, tmp_path: Path
) -> None:
    """Neither hangs."""
    authority = Authority(tmp_path / "tls", "authority")
    with tls_gate(engine.socket, authority) as found:
        harness = ContainerHarness(tmp_path, engine, url=f"tcp://127.0.0.1:{found.port}")
        with pytest.raises(RuntimeUnavailable, match=str(found.port)):
            await harness.open()
    with gate(engine.socket) as found:
        files = TlsFiles(authority.path)
        harness = ContainerHarness(tmp_path, engine, url=f"tcp://127.0.0.1:{found.port}", tls=files)
        with pytest.raises(RuntimeUnavailable, match="TLS"):
            await harness.open()


async def test_sizes_count_over_the_network(remote: ContainerHarness) -> None:
    """What is beyond the limit is counted once, though the log is read again."""
    ended = await remote.run("seq 1 1000", log_limit_bytes=100)
    assert ended.stdout == StreamSize(100, 3893 - 100)


async def test_an_engine_says_what_its_machine_has(remote: ContainerHarness) -> None:
    """Pools that set nothing else go by it; nothing is said while it cannot be asked."""
    found = await remote.runtime.capacity()
    assert found is not None
    assert found.cpu_millis % 1000 == 0
    assert found.slots == 8 * found.cpu_millis // 1000 > 0
    assert found.memory_bytes > 1 << 20
    await remote.runtime.close()
    assert await remote.runtime.capacity() is None
