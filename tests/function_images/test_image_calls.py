"""Calls that containers answer: what goes there and back, how they end, what is kept warm."""

import anyio
import msgspec
import pytest
from image_world import ImageWorld

from eventually import eventually_async
from taskyard.core.attempts import Ended
from taskyard.core.functions.functions import CallRequest
from taskyard.core.states import AttemptState, Reason

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.xdist_group("containers")]


async def test_the_answer_comes_back_as_it_was_given(world: ImageWorld) -> None:
    """Status, headers in order, and every byte of the body."""
    await world.build(world.push())
    body = b"echo" + bytes(range(256)) * 300
    ended = await world.call(body)
    assert ended.state is AttemptState.SUCCEEDED, ended
    assert ended.result is not None
    assert ended.result.status == 201
    assert ended.result.headers == (("X-A", "1"), ("X-A", "2"), ("content-type", "x/y"))
    assert ended.result.body == body


async def test_a_program_is_told_of_the_request(world: ImageWorld) -> None:
    """Method, host, headers, query string, ids and the time limit are in the frame's header."""
    await world.build(world.push())
    request = CallRequest(
        body=b"header", headers=(("x-b", "ß"),), query="a=%20&b", method="PUT", host="h:1"
    )
    told = msgspec.json.decode(await world.text(request=request), type=dict[str, object])
    assert told.pop("id")
    assert told.pop("task")
    assert told == {
        "call": 1,
        "function": "f",
        "version": 1,
        "node": "local",
        "method": "PUT",
        "host": "h:1",
        "query": "a=%20&b",
        "headers": [["x-b", "ß"]],
        "timeout_s": 30.0,
    }


async def test_containers_are_warm_and_have_little(world: ImageWorld) -> None:
    """The same one answers again; it is confined as containers of tasks are."""
    await world.build(world.push())
    first = await world.text("who")
    await eventually_async(lambda: len(world.engine.containers()) == 2)
    used = {await world.text("who") for _ in range(6)}
    assert first in used or len(used) == 1
    assert len(used) <= 2
    found = world.engine.inspect(first)["HostConfig"]
    assert found["ReadonlyRootfs"]
    assert not found["Privileged"]
    assert found["NetworkMode"] == "none"
    assert found["Memory"] == 512 << 20
    status = await world.text("read /proc/1/status")
    capabilities = [line.split()[1] for line in status.splitlines() if line.startswith("Cap")]
    assert set(capabilities) == {"0000000000000000"}, status
    assert "NoNewPrivs:\t1" in status
    assert await world.text("write /mark") == "no"
    assert await world.text("write /run/taskyard/x") == "no"
    assert await world.text("write /tmp/x") == "yes"


async def test_what_is_left_out_of_an_answer_has_defaults(world: ImageWorld) -> None:
    """No headers, no sizes: none, and a payload that is the body."""
    await world.build(world.push())
    ended = await world.call("plain")
    assert ended.result is not None
    assert (ended.result.status, ended.result.headers, ended.result.body) == (204, (), b"")
    large = await world.call("large 3000000")
    assert large.result is not None, large
    assert (large.result.size_bytes, large.result.body) == (3_000_000, None)
    too_large = await world.call("large 11000000")
    assert (too_large.state, too_large.reason) == (AttemptState.FAILED, Reason.FUNCTION_ERROR)
    assert too_large.message == "the answer has 11000000 bytes; 10485760 are allowed"


@pytest.mark.parametrize(
    ("what", "reason", "code", "signal", "message"),
    [
        ("error", Reason.FUNCTION_ERROR, None, None, "it went wrong"),
        ("exit 5", Reason.EXIT_CODE, 5, None, "exited with code 5 in the middle"),
        ("segfault", Reason.SIGNAL, None, "SIGSEGV", "died of SIGSEGV"),
        ("nonsense", Reason.FUNCTION_ERROR, None, None, "broke the protocol: status"),
        ("split", Reason.FUNCTION_ERROR, None, None, "contains a control character"),
    ],
)
async def test_what_goes_wrong_has_words(
    world: ImageWorld, what: str, reason: Reason, code: int | None, signal: str | None, message: str
) -> None:
    """And the next call is answered again."""
    await world.build(world.push())
    ended = await world.call(what)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, reason), ended
    assert (ended.exit_code, ended.signal) == (code, signal)
    assert message in (ended.message or "")
    assert await world.text("echo") == "echo"


async def test_what_is_no_frame_ends_the_instance(world: ImageWorld) -> None:
    """A program that babbles is killed, and its call fails."""
    await world.build(world.push())
    ended = await world.call("babble")
    assert ended.state is AttemptState.FAILED
    assert await world.text("echo") == "echo"


async def test_a_program_may_announce_that_it_ends(world: ImageWorld) -> None:
    """Its answer counts, and nothing is given to it any more."""
    await world.build(world.push())
    for _ in range(4):
        assert await world.text("last") == "bye"


async def test_a_time_limit_kills_with_proof(world: ImageWorld) -> None:
    """All processes of the container are dead when the call is reported."""
    await world.build(world.push())
    assert await world.text("echo") == "echo"
    ended = await world.call("family", timeout_s=0.5)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.TIMEOUT)
    report = ended.kill_report
    assert report is not None
    assert (report.method, report.forced, report.survivors) == ("container", True, ())
    assert report.killed_count == 2
    assert await world.text("echo") == "echo"


async def test_a_kill_order_ends_a_call(world: ImageWorld) -> None:
    """By its signal, or after the grace outright."""
    await world.build(world.push())
    assignment = world.assignment("sleep 100")
    await world.start(assignment)
    await world.ear.until(lambda: assignment.attempt_id in world.ear.starts)
    await world.kill(assignment)
    ended = await world.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.KILLED, Reason.KILLED)
    assert ended.kill_report is not None
    assert ended.kill_report.survivors == ()


async def test_the_memory_limit_is_said_to_be_the_reason(world: ImageWorld) -> None:
    """A program that takes more than its limit is out of memory, not just dead."""
    await world.build(world.push())
    ended = await world.call("memory", memory_bytes=32 << 20)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.OUT_OF_MEMORY), ended


async def test_progress_is_passed_on(world: ImageWorld) -> None:
    """While the call runs."""
    await world.build(world.push())
    ended = await world.call("progress")
    ((told,),) = world.ear.progressed.values()
    assert (told.attempt_id, told.fraction, told.text) == (ended.attempt_id, 0.5, "half")


async def test_idle_containers_go(world: ImageWorld) -> None:
    """Those that nobody calls end by themselves and are removed, with their directories."""
    world.runtime.limits = msgspec.structs.replace(world.runtime.limits, idle_s=0.2)
    await world.build(world.push())
    assert await world.text("echo") == "echo"
    run = world.root / "functions" / "images" / "run"
    await eventually_async(lambda: world.engine.containers() == [] and list(run.iterdir()) == [])
    assert await world.text("echo") == "echo"


async def test_a_container_is_replaced_after_so_many_calls(world: ImageWorld) -> None:
    """Also one that does not end when it is asked to."""
    world.runtime.limits = msgspec.structs.replace(world.runtime.limits, calls=2)
    await world.build(world.push("stubborn"))
    used = [await world.text("who") for _ in range(6)]
    assert max(used.count(one) for one in used) <= 2
    gone = used[0]
    await eventually_async(
        lambda: gone not in {one["Id"][:12] for one in world.engine.containers()}
    )


async def test_calls_at_once_get_containers_of_their_own(world: ImageWorld) -> None:
    """One call at a time each."""
    await world.build(world.push())
    assignments = [world.assignment("sleep 1") for _ in range(4)]
    async with anyio.create_task_group() as group:
        for one in assignments:
            group.start_soon(world.start, one)
    ends: list[Ended] = [await world.ended(one) for one in assignments]
    assert {one.state for one in ends} == {AttemptState.SUCCEEDED}
    assert len(world.engine.containers()) >= 2


async def test_closing_leaves_no_container(world: ImageWorld) -> None:
    """Whatever they were doing."""
    await world.build(world.push("stubborn"))
    assignment = world.assignment("sleep 100")
    await world.start(assignment)
    await world.ear.until(lambda: assignment.attempt_id in world.ear.starts)
    await world.close()
    assert world.engine.containers() == []
