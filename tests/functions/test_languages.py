"""What holds for functions in every language that is no Python: each does what the samples say."""

import os
import re
import shutil
from pathlib import Path

import anyio
import pytest
from function_world import FunctionWorld
from samples import SAMPLES

from taskyard.core.functions.functions import CallRequest, Language
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.building import LocalBuilder
from taskyard.runtimes.function.toolchains import TOOL_CHAINS

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(300),  # compilers may have their own library to compile first
    pytest.mark.parametrize(
        "language",
        [
            pytest.param(Language.GO, marks=pytest.mark.golang),
            pytest.param(Language.RUBY, marks=pytest.mark.ruby),
        ],
    ),
]


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what was built once is kept for all tests."""
    return tmp_path_factory.mktemp("kept")


async def deploy(world: FunctionWorld, language: Language, kept: Path) -> None:
    """Have the sample of a language as version 1: built, or taken from where it was."""
    built = world.root / "functions" / "builds" / "f" / "1"
    if (kept / language).is_dir():
        shutil.copytree(kept / language, built)
        return
    await world.build(SAMPLES[language], language=language)
    shutil.copytree(built, kept / language)


async def gone(pid: int) -> None:
    """Return when a process is no more, or dead and only waiting to be buried."""
    with anyio.fail_after(5):
        while True:
            try:
                state = await anyio.Path(f"/proc/{pid}/stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                return
            if state.rpartition(")")[2].split()[0] in "ZX":
                return
            await anyio.sleep(0.01)


async def test_a_call_arrives_and_is_answered_as_it_is(
    functions: FunctionWorld, language: Language, kept: Path
) -> None:
    """Method, host, query string, headers and every byte of the body, there and back."""
    await deploy(functions, language, kept)
    body = bytes(range(256)) + b'"\\\xf0\x9f\x98\x80'
    assignment = functions.assignment(
        request=CallRequest(
            body=body,
            headers=(("x-b", 'caf\xe9 "\\'), ("content-type", "application/octet-stream")),
            query="a=1&a=%20&b",
            method="PUT",
            host="example.org:8000",
        ),
        timeout_s=20.0,
    )
    await functions.start(assignment)
    ended = await functions.ended(assignment)
    assert ended.result is not None, ended
    assert ended.result.status == 201
    assert ended.result.body == b"PUT example.org:8000 a=1&a=%20&b " + body
    headers = [(name.lower(), value) for name, value in ended.result.headers]
    assert [value for name, value in headers if name == "x-a"] == ["1", "2"]
    assert [value for name, value in headers if name == "x-b"] == ['caf\xe9 "\\']
    assert functions.ear.progressed[assignment.attempt_id][0].text == "half"


async def test_errors_fail_their_calls_in_their_words(
    fast: FunctionWorld, language: Language, kept: Path
) -> None:
    """The words are in the message and in the log, and the process goes on."""
    await deploy(fast, language, kept)
    ended = await fast.call("error", timeout_s=20.0)
    assert ended.reason is Reason.FUNCTION_ERROR, ended
    assert "went wrong" in (ended.message or "")
    assert b"went wrong" in await fast.output(ended, "stderr")
    for wrong, said in {
        "bad status": "a number from 200 to 599, not 99",
        "bad header": "a header contains a line break",
        "large": "the answer has 11534336 bytes; 10485760 are allowed",
    }.items():
        ended = await fast.call(wrong, timeout_s=20.0)
        assert ended.reason is Reason.FUNCTION_ERROR, ended
        assert said in (ended.message or "")
    assert (await fast.call("x")).state is AttemptState.SUCCEEDED


async def test_a_process_that_ends_or_takes_too_long_ends_its_own_call(
    functions: FunctionWorld, language: Language, kept: Path
) -> None:
    """With its exit code, or its time limit; the next call works."""
    await deploy(functions, language, kept)
    left = await functions.call("exit", timeout_s=20.0)
    assert (left.reason, left.exit_code) == (Reason.EXIT_CODE, 3), left
    looped = await functions.call("loop", timeout_s=0.5)
    assert looped.reason is Reason.TIMEOUT, looped
    assert looped.kill_report is not None
    assert looped.kill_report.survivors == ()
    assert (await functions.call("x", timeout_s=20.0)).state is AttemptState.SUCCEEDED


async def test_what_is_printed_is_the_log_of_the_call(
    fast: FunctionWorld, language: Language, kept: Path
) -> None:
    """Little travels with the answer, much is a file, and the call after it starts again."""
    await deploy(fast, language, kept)
    for _ in range(2):
        printed = await fast.call("print", timeout_s=20.0)
        assert await fast.output(printed, "stdout") == b"out\n", printed
        assert await fast.output(printed, "stderr") == b"err\n", printed
        much = await fast.call("much", timeout_s=20.0)
        assert much.state is AttemptState.SUCCEEDED, much
        assert not much.output_complete
        assert await fast.output(much, "stdout") == b"x" * 100_000
        assert await fast.output(much, "stderr") == b""


async def test_nothing_of_a_call_is_left_for_the_next(
    fast: FunctionWorld, language: Language, kept: Path
) -> None:
    """Neither processes nor files; and nothing of the service is seen."""
    await deploy(fast, language, kept)
    child = await fast.call("child", timeout_s=20.0)
    assert child.result is not None, child
    await gone(int(child.result.body or b""))
    await fast.call("litter", timeout_s=20.0)
    listed = await fast.call("list", timeout_s=20.0)
    assert listed.result is not None, listed
    assert listed.result.body == b"0"
    environment = await fast.call("environment")
    assert environment.result is not None, environment
    names = {line.partition(b"=")[0] for line in (environment.result.body or b"").split(b"\n")}
    assert b"TASKYARD_FUNCTION" in names
    assert (b"TASKYARD_CODE" in names) == (language is not Language.RUBY)
    assert not names & {b"TASKYARD_OUTPUT", b"TASKYARD_RESULT_BYTES", b"VIRTUAL_ENV", b"PYTHONPATH"}


async def test_source_that_does_not_compile_fails_the_build(
    fast: FunctionWorld, language: Language, kept: Path
) -> None:
    """With the compiler's words in the log; the version before goes on, and no litter is left."""
    await deploy(fast, language, kept)
    with pytest.raises(BuildFailed, match="does not compile"):
        await fast.build(SAMPLES[language] + "\n) oops\n", language=language, number=2)
    place = re.compile(re.escape(TOOL_CHAINS[language].single) + "[:(][0-9]")
    assert any(place.search(line) for line in fast.log), fast.log
    builds = fast.root / "functions" / "builds" / "f"
    assert [one.name for one in builds.iterdir()] == ["1"]
    assert {one.name for one in (builds / "1").iterdir()} <= {"bin", "code", "manifest.json"}


async def test_a_build_that_takes_too_long_is_stopped(
    fast: FunctionWorld, language: Language
) -> None:
    """With nothing left of it."""
    fast.builder = LocalBuilder(fast.root / "functions", 0.001)
    with pytest.raises(BuildFailed, match=r": it took longer than 0\.001 s"):
        await fast.build(SAMPLES[language], language=language)
    assert list((fast.root / "functions" / "builds" / "f").iterdir()) == []


async def test_a_handler_that_is_missing_or_chosen_wrongly_is_said(
    fast: FunctionWorld, language: Language
) -> None:
    """Also an entry or dependencies that the language has another place for."""
    with pytest.raises(BuildFailed, match="no handler in the source: "):
        await fast.build({"README": "x"}, language=language)
    with pytest.raises(BuildFailed, match="belong in"):
        await fast.build(SAMPLES[language], language=language, dependencies=("x",))


async def test_a_missing_tool_chain_is_said(
    fast: FunctionWorld, language: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the source is."""
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(BuildFailed, match=f"no tool chain for {language} on this worker: no "):
        await fast.build("x", language=language)
