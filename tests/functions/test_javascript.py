"""Functions in JavaScript, where there is Node."""

import os
import shutil
from pathlib import Path

import pytest
from function_world import FunctionWorld

from taskyard.core import output_index
from taskyard.core.functions.functions import CallRequest, Language
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.functions import BuildFailed

pytestmark = [pytest.mark.anyio, pytest.mark.node]


@pytest.fixture(autouse=True)
def _needs_node() -> None:
    if shutil.which("node") is None:
        assert os.environ.get("CI") != "true", "continuous integration needs Node.js"
        pytest.skip("there is no node here")


SOURCE = """
module.exports = async (request) => {
  if (request.text === 'throw') throw new TypeError('went wrong');
  if (request.text === 'exit') process.exit(3);
  if (request.text === 'loop') for (;;) {}
  if (request.text === 'print') console.log('out'), console.error('err');
  if (request.text === 'nonsense') return () => 1;
  if (request.text === 'much') process.stdout.write('x'.repeat(100000));
  request.progress(0.5, 'half');
  return { statusCode: 201, headers: { 'x-a': ['1', '2'] }, body: { got: request.text } };
};
"""


async def test_a_module_answers(functions: FunctionWorld) -> None:
    """With status, headers and JSON."""
    await functions.build(SOURCE, language=Language.JAVASCRIPT)
    assignment = functions.assignment("hi")
    await functions.start(assignment)
    ended = await functions.ended(assignment)
    assert ended.result is not None, ended
    assert ended.result.status == 201
    assert ended.result.body == b'{"got":"hi"}'
    assert [pair for pair in ended.result.headers if pair[0] == "x-a"] == [
        ("x-a", "1"),
        ("x-a", "2"),
    ]
    assert functions.ear.progressed[assignment.attempt_id][0].text == "half"


async def test_es_modules_with_event_and_context(fast: FunctionWorld) -> None:
    """``export default`` works, and so do the functions of GreenCloud."""
    source = """
    export default async (event, context) => context.status(202).succeed(event.query.a);
    """
    await fast.build({"handler.mjs": source}, language=Language.JAVASCRIPT)
    ended = await fast.call(request=CallRequest(query="a=1&a=2"))
    assert ended.result is not None, ended
    assert (ended.result.status, ended.result.body) == (202, b"1")


async def test_modules_may_await_at_the_top(fast: FunctionWorld) -> None:
    """Calls come once that is through."""
    source = """
    const greeting = await new Promise((resolve) => setTimeout(() => resolve('hello'), 20));
    export default () => greeting;
    """
    await fast.build({"handler.mjs": source}, language=Language.JAVASCRIPT)
    ended = await fast.call()
    assert ended.result is not None, ended
    assert ended.result.body == b"hello"


@pytest.mark.usefixtures("unseen")
async def test_bad_handlers_end_their_calls(fast: FunctionWorld) -> None:
    """Each in its way, and the next call works."""
    await fast.build(SOURCE, language=Language.JAVASCRIPT)
    thrown = await fast.call("throw")
    assert (thrown.reason, thrown.message) == (Reason.FUNCTION_ERROR, "TypeError: went wrong")
    assert b"TypeError" in await fast.output(thrown, "stderr")
    left = await fast.call("exit")
    assert (left.reason, left.exit_code) == (Reason.EXIT_CODE, 3)
    looped = await fast.call("loop", timeout_s=0.5)
    assert looped.reason is Reason.TIMEOUT
    printed = await fast.call("print")
    assert [one.stream for one in output_index.decode(printed.inline_output.pop("order"))] == [1, 2]
    assert printed.inline_output == {"stdout": b"out\n", "stderr": b"err\n"}
    assert (await fast.call("nonsense")).reason is Reason.FUNCTION_ERROR
    much = fast.assignment("much")
    await fast.start(much)
    assert not (await fast.ended(much)).output_complete
    path = fast.directories.path(much.attempt_id)
    assert (path / "stdout").stat().st_size == 100000
    again = await fast.call("print")
    assert again.state is AttemptState.SUCCEEDED
    assert again.inline_output.pop("order")
    assert again.inline_output == {"stdout": b"out\n", "stderr": b"err\n"}


async def test_source_that_does_not_compile_fails_the_build(fast: FunctionWorld) -> None:
    """With what Node says."""
    with pytest.raises(BuildFailed, match="does not compile"):
        await fast.build("module.exports = (", language=Language.JAVASCRIPT)


async def test_a_missing_tool_chain_is_said(
    fast: FunctionWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name of the program that is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildFailed, match="no tool chain for javascript on this worker: no node"):
        await fast.build(SOURCE, language=Language.JAVASCRIPT)


AWAITING = "const answer = await Promise.resolve('waited');\n"


@pytest.mark.parametrize(
    "source",
    [
        {"handler.mjs": AWAITING + "export default () => answer;\n"},
        {"handler.js": AWAITING + "export default () => answer;\n"},
        {"handler.js": "#!/usr/bin/node\n" + AWAITING + "module.exports = () => answer;\n"},
        {
            "handler.js": "const near = require('./near');\n"
            + AWAITING
            + "const more = import('./near.js');\n"
            + "exports.handle = async () => answer.slice(near, (await more).default);\n",
            "near.js": "module.exports = 0 || undefined;",
        },
    ],
)
async def test_await_at_the_top(fast: FunctionWorld, source: dict[str, str]) -> None:
    """In modules and in CommonJS files, which is which is told by what they export."""
    await fast.build(source, language=Language.JAVASCRIPT)
    ended = await fast.call(timeout_s=20.0)
    assert ended.result is not None, ended
    assert ended.result.body == b"waited"


async def test_a_node_that_cannot_await_at_the_top_says_what_to_do(
    fast: FunctionWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside its own words."""
    program = tmp_path / "node"
    words = (
        "SyntaxError: await is only valid in async functions and the top level bodies of modules"
    )
    program.write_text(f"#!/bin/sh\necho '{words}' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildFailed, match=r"name it handler\.mjs and write 'export default'"):
        await fast.build(AWAITING, language=Language.JAVASCRIPT)
    assert words in fast.log
