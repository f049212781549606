"""What goes on beside a call or after its end is in no answer, and in no later call."""

import os
import shutil

import anyio
import pytest
from function_world import FunctionWorld

from eventually import eventually_async
from taskyard.core.attempts import Ended
from taskyard.core.functions.functions import Language
from taskyard.core.states import AttemptState, Reason

pytestmark = pytest.mark.anyio

PYTHON = """
    import asyncio, os, signal, sys, threading, time

    def alarmed(*_):
        raise TimeoutError("of another call")

    def handle(request):
        what = request.text
        print("from", what)
        if what == "alarm":
            signal.signal(signal.SIGALRM, alarmed)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
        elif what == "wait":
            time.sleep(0.4)
        elif what == "fork":
            child = os.fork()
            if child == 0:
                request.progress(1.0, "of a child")
                return "the child's answer"
            os.waitpid(child, 0)
        elif what == "noise":
            def beat():
                while True:
                    request.progress(1.0, "still here")
            threading.Thread(target=beat, daemon=True).start()
            return "y" * (9 << 20)
        return what
"""


async def one_process(world: FunctionWorld) -> None:
    """From here on there is one process, which gets all calls."""
    (pool,) = world.runtime._pools.values()
    await eventually_async(lambda: all(one.ready for one in pool.instances.values()))


async def printed(world: FunctionWorld, ended: Ended) -> bytes:
    """What a call that went well printed."""
    assert ended.state is AttemptState.SUCCEEDED, ended
    return await world.output(ended, "stdout")


async def test_an_alarm_of_one_call_does_not_go_off_in_the_next(fast: FunctionWorld) -> None:
    """It is switched off with the call's end."""
    await fast.build(PYTHON)
    await fast.call("x")
    await one_process(fast)
    assert (await fast.call("alarm")).state is AttemptState.SUCCEEDED
    assert (await fast.call("wait")).state is AttemptState.SUCCEEDED


async def test_a_forked_child_does_not_answer(fast: FunctionWorld) -> None:
    """Even if it comes back from the handler; what was printed before is there once."""
    await fast.build(PYTHON)
    assignment = fast.assignment("fork")
    await fast.start(assignment)
    ended = await fast.ended(assignment)
    assert ended.result is not None, ended
    assert ended.result.body == b"fork"
    assert await printed(fast, ended) == b"from fork\n"
    assert assignment.attempt_id not in fast.ear.progressed
    assert (await fast.call("x")).state is AttemptState.SUCCEEDED


async def test_an_answer_is_whole_whatever_threads_say_meanwhile(fast: FunctionWorld) -> None:
    """Frames are never written into one another."""
    await fast.build(PYTHON)
    for _ in range(2):
        ended = await fast.call("noise")
        assert ended.state is AttemptState.SUCCEEDED, ended
        body = fast.directories.path(ended.attempt_id) / "result"
        assert ended.result is not None
        assert ended.result.size_bytes == 9 << 20
        assert set(await anyio.Path(body).read_bytes()) == {ord("y")}


JAVASCRIPT = """
let late = null;
module.exports = async (request) => {
  console.log('from', request.text);
  if (request.text === 'reject') Promise.reject(new Error('nobody caught it'));
  if (request.text === 'throw') {
    setTimeout(() => { throw new Error('nobody caught it'); }, 1);
    await new Promise((resolve) => setTimeout(resolve, 5000));
  }
  if (request.text === 'late') {
    late = new Promise((resolve) => setTimeout(() => {
      console.log('late');
      request.progress(1, 'late');
      resolve();
      Promise.reject(new Error('late'));
    }, 50));
  }
  if (request.text === 'meet') {
    await late;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  if (request.text === 'map') return { nested: new Map([[1, 2]]) };
  if (request.text === 'big') return { a: 1n };
  if (request.text === 'empty') return { a: {}, b: [], c: new Date(0) };
  return 'ok';
};
"""


@pytest.fixture
def _node() -> None:
    if shutil.which("node") is None:
        assert os.environ.get("CI") != "true", "continuous integration needs Node.js"
        pytest.skip("there is no node here")


@pytest.mark.node
@pytest.mark.usefixtures("_node")
@pytest.mark.parametrize("what", ["reject", "throw"])
async def test_errors_that_nobody_caught_fail_their_own_call(
    fast: FunctionWorld, what: str
) -> None:
    """With their words; the next call knows nothing of them."""
    await fast.build(JAVASCRIPT, language=Language.JAVASCRIPT)
    for _ in range(5):
        ended = await fast.call(what)
        assert (ended.reason, ended.message) == (
            Reason.FUNCTION_ERROR,
            "Error: nobody caught it",
        )
        assert b"nobody caught it" in await fast.output(ended, "stderr")
        assert (await fast.call("x")).state is AttemptState.SUCCEEDED


@pytest.mark.node
@pytest.mark.usefixtures("_node")
async def test_timers_of_an_ended_call_say_nothing(fast: FunctionWorld) -> None:
    """No output, no progress, no error."""
    await fast.build(JAVASCRIPT, language=Language.JAVASCRIPT)
    await fast.call("x")
    await one_process(fast)
    assert await printed(fast, await fast.call("late")) == b"from late\n"
    assignment = fast.assignment("meet")
    await fast.start(assignment)
    assert await printed(fast, await fast.ended(assignment)) == b"from meet\n"
    assert assignment.attempt_id not in fast.ear.progressed


@pytest.mark.node
@pytest.mark.usefixtures("_node")
async def test_what_json_has_nothing_for_is_refused(fast: FunctionWorld) -> None:
    """In words, rather than turned into an empty object; what is empty stays."""
    await fast.build(JAVASCRIPT, language=Language.JAVASCRIPT)
    said = (await fast.call("map")).message or ""
    assert said.startswith("the handler answered with something unusable: a Map cannot be")
    assert '"nested"' in said
    assert "BigInt" in ((await fast.call("big")).message or "")
    empty = await fast.call("empty")
    assert empty.result is not None, empty
    assert empty.result.body == b'{"a":{},"b":[],"c":"1970-01-01T00:00:00.000Z"}'
