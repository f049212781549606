"""What programs in containers print: whose it is, how much, and when it is there."""

import msgspec
import pytest
from image_world import ImageWorld

from eventually import eventually_async
from taskyard.core.output_index import FILE, covered
from taskyard.core.states import AttemptState, Reason

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.xdist_group("containers")]

LINE = b"x" * 999 + b"\n"


@pytest.mark.usefixtures("unseen")
async def test_each_call_has_its_own_output(world: ImageWorld) -> None:
    """Little comes with the end of the call; a program that counts needs no waiting."""
    await world.build(world.push())
    for size in (2000, 0, 5000):
        ended = await world.call(f"print {size}")
        assert ended.output_complete
        assert world.output(ended) == LINE * (size // 1000)
        assert world.output(ended, "stderr") == b"oh\n"
        # Engines read both streams at once, and may swap what was written in one moment.
        order = ended.inline_output.get(FILE, b"")
        assert covered(order) == ((size, 3) if size else (0, 0))


async def test_output_that_nobody_counts_is_not_lost(world: ImageWorld) -> None:
    """What comes too late for its own call is the next one's."""
    await world.build(world.push())
    world.runtime.limits = msgspec.structs.replace(world.runtime.limits, processes=1)
    ends = [await world.call(f"mutter {size}") for size in (3000, 0, 20_000, 1000)]
    ends.append(await world.call("print 0"))
    assert {one.state for one in ends} == {AttemptState.SUCCEEDED}
    assert b"".join(world.output(one) for one in ends) == LINE * 24


@pytest.mark.usefixtures("unseen")
async def test_much_output_is_complete(world: ImageWorld) -> None:
    """To the last byte, in files; and the call behind it has nothing of it."""
    await world.build(world.push())
    ended = await world.call("print 20000000", log_limit_bytes=32 << 20)
    assert not ended.output_complete
    assert world.output(ended) == LINE * 20_000
    order = (world.directory(ended.attempt_id) / FILE).read_bytes()
    assert covered(order) == (20_000_000, 3)
    after = await world.call("print 0")
    assert after.inline_output == {"stderr": b"oh\n"}


async def test_output_beyond_the_limit_is_counted_and_not_kept(world: ImageWorld) -> None:
    """The file is as long as what was printed, and holds nothing beyond the limit."""
    await world.build(world.push())
    ended = await world.call("print 5000000", log_limit_bytes=100_000)
    path = world.directory(ended.attempt_id) / "stdout"
    assert path.stat().st_size == 5_000_000
    assert path.stat().st_blocks * 512 < 1_000_000
    assert path.read_bytes()[:100_000] == LINE * 100


async def test_output_can_be_watched_while_a_call_runs(world: ImageWorld) -> None:
    """It is in the attempt's directory before the call has ended."""
    await world.build(world.push())
    assignment = world.assignment("watch 2")
    await world.start(assignment)
    path = world.directory(assignment.attempt_id) / "stdout"
    await eventually_async(lambda: path.exists() and path.read_bytes() == b"begun\n")
    assert assignment.attempt_id not in world.ear.ends
    ended = await world.ended(assignment)
    assert world.output(ended) == b"begun\ndone\n"


async def test_last_words_are_kept(world: ImageWorld) -> None:
    """What a program says before it ends in the middle of a call is the call's."""
    await world.build(world.push())
    ended = await world.call("exit 3")
    assert (ended.reason, ended.exit_code) == (Reason.EXIT_CODE, 3)
    assert world.output(ended, "stderr") == b"bye\n"


@pytest.mark.usefixtures("unseen")
async def test_a_program_may_hand_output_over_with_its_answer(world: ImageWorld) -> None:
    """It stands behind what the container printed."""
    await world.build(world.push())
    ended = await world.call("carry")
    assert ended.result is not None
    assert ended.result.body == b"ok"
    assert ended.inline_output == {"stdout": b"own\nouts", "stderr": b"errs!"}
