"""What is particular to functions in Ruby: what is answered with, and gems."""

from pathlib import Path

import anyio
import pytest
from function_world import FunctionWorld

from taskyard.core.functions.functions import CallRequest, Language
from taskyard.core.states import Reason
from taskyard.ports.functions import BuildFailed

pytestmark = [pytest.mark.anyio, pytest.mark.ruby]

SOURCE = """
class Handler
  def run(body, headers)
    case body.to_s
    when 'text' then "caf\\u00e9"
    when 'json' then { 'a' => [1, nil] }
    when 'nothing' then nil
    when 'typed' then ['<p>', { 'Content-Type': 'text/html' }]
    when 'look' then "#{headers['Content-Type']} #{headers['x-a']} #{headers['none'].inspect}"
    when 'exit' then exit 4
    when 'four' then [1, 2, 3, 4]
    when 'raise' then raise ArgumentError, 'no good'
    end
  end
end
"""


@pytest.mark.parametrize(
    ("asked", "kind", "body"),
    [
        ("text", "text/plain; charset=utf-8", "caf\xe9".encode()),
        ("json", "application/json", b'{"a":[1,null]}'),
        ("nothing", None, b""),
        ("typed", "text/html", b"<p>"),
        ("look", "text/plain; charset=utf-8", b"text/x 1, 2 nil"),
    ],
)
async def test_answers(fast: FunctionWorld, asked: str, kind: str | None, body: bytes) -> None:
    """Text, JSON, nothing, or a body with headers."""
    await fast.build(SOURCE, language=Language.RUBY)
    headers = (("content-type", "text/x"), ("x-a", "1"), ("x-a", "2"))
    request = CallRequest(body=asked.encode(), headers=headers)
    ended = await fast.call(request=request, timeout_s=20.0)
    assert ended.result is not None, ended
    assert (ended.result.status, ended.result.body) == (200, body)
    found = dict(ended.result.headers)
    assert {name.lower(): value for name, value in found.items()}.get("content-type") == kind


async def test_bad_answers_end_their_calls(fast: FunctionWorld) -> None:
    """With words; what was raised is told from the handler's own code on."""
    await fast.build(SOURCE, language=Language.RUBY)
    left = await fast.call("exit", timeout_s=20.0)
    assert (left.reason, left.exit_code) == (Reason.FUNCTION_ERROR, 4)
    four = await fast.call("four", timeout_s=20.0)
    assert "an array has to be [body, headers, status]" in (four.message or "")
    raised = await fast.call("raise", timeout_s=20.0)
    assert raised.message == "ArgumentError: no good"
    assert b"handler.rb:12" in await fast.output(raised, "stderr")
    assert b"instance.rb" not in await fast.output(raised, "stderr")


@pytest.mark.parametrize("source", ["x = 1\n", "raise 'at once'\n", "class Handler; end\n"])
async def test_a_file_without_a_handler_fails_its_calls(fast: FunctionWorld, source: str) -> None:
    """When it is loaded, which is when the first call comes."""
    await fast.build(source, language=Language.RUBY)
    ended = await fast.call(timeout_s=20.0)
    assert ended.reason is Reason.FUNCTION_ERROR, ended
    assert "at once" in (ended.message or "") or "no class Handler" in (ended.message or "")


async def test_gems_are_installed(fast: FunctionWorld, tmp_path: Path) -> None:
    """Those of the Gemfile, for the version alone; from a directory: no network is needed."""
    gem = tmp_path / "gems"
    (gem / "lib").mkdir(parents=True)
    (gem / "lib" / "tiny.rb").write_text("module Tiny\n  ANSWER = 42\nend\n")
    (gem / "tiny.gemspec").write_text(
        "Gem::Specification.new do |s|\n  s.name, s.version, s.summary = 'tiny', '1.0', 'tiny'\n"
        "  s.authors, s.files = ['somebody'], ['lib/tiny.rb']\nend\n"
    )
    for command in ("build tiny.gemspec", "generate_index --directory .."):
        await anyio.run_process(["gem", *command.split()], cwd=gem)
    source = "require 'tiny'\nclass Handler\n  def run(*) = Tiny::ANSWER\nend\n"
    listed = f"source 'file://{tmp_path}'\ngem 'tiny'\n"
    log = await fast.build({"handler.rb": source, "Gemfile": listed}, language=Language.RUBY)
    assert "dependencies installed" in log
    ended = await fast.call(timeout_s=20.0)
    assert ended.result is not None, ended
    assert ended.result.body == b"42"
    missing = f"source 'file://{tmp_path}'\ngem 'missing'\n"
    with pytest.raises(BuildFailed, match="the dependencies could not be installed"):
        await fast.build({"handler.rb": source, "Gemfile": missing}, language=Language.RUBY)
    assert any("missing" in line for line in fast.log), fast.log


async def test_an_empty_gemfile_needs_nothing(fast: FunctionWorld) -> None:
    """Not even a network."""
    files = {"function/handler.rb": SOURCE, "Gemfile": "source 'https://gems.invalid'\n"}
    await fast.build(files, language=Language.RUBY)
    assert (await fast.call("text", timeout_s=20.0)).result is not None


LEFT = """
class Handler
  def run(body, headers)
    report = headers['taskyard.progress']
    case body.read
    when 'thread'
      Thread.new { loop { sleep 0.06; puts 'late'; report.call(1.0, 'late') } }
    when 'meet'
      sleep 0.15
    when 'fork'
      pid = fork
      if pid.nil?
        report.call(1.0, 'of a child')
        return "the child's answer"
      end
      Process.wait(pid)
    when 'object' then return { nested: [Object.new] }
    end
    puts 'printed'
    'ok'
  end
end
"""


async def test_what_a_call_left_behind_is_in_no_later_call(fast: FunctionWorld) -> None:
    """Neither what a thread prints nor its progress; and a forked child does not answer."""
    await fast.build(LEFT, language=Language.RUBY)
    for what in ("fork", "thread", "meet"):
        assignment = fast.assignment(what, timeout_s=20.0)
        await fast.start(assignment)
        ended = await fast.ended(assignment)
        assert ended.result is not None, (what, ended)
        assert ended.result.body == b"ok"
        assert await fast.output(ended, "stdout") == b"printed\n"
        assert assignment.attempt_id not in fast.ear.progressed


async def test_what_json_has_nothing_for_is_refused(fast: FunctionWorld) -> None:
    """Rather than answered with how Ruby shows it."""
    await fast.build(LEFT, language=Language.RUBY)
    said = (await fast.call("object", timeout_s=20.0)).message or ""
    assert "a Object cannot be answered with: JSON has nothing for it" in said
