"""Commands outlive the processes that look after them."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import pytest
from runtime_harness import RuntimeHarness, alive

from eventually import eventually_async
from taskyard.core.ids import AttemptId
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import SecretRef

pytestmark = pytest.mark.anyio


async def test_exit_while_nobody_is_connected_is_told_later(harness: RuntimeHarness) -> None:
    """The code of a command that ended while the server was away is not lost."""
    assignment = await harness.start(script="while [ ! -e gone ]; do sleep 0.02; done; exit 5")
    started = await harness.started(assignment)
    await harness.runtime.close()
    (harness.directory(assignment.attempt_id) / "work" / "gone").touch()
    await eventually_async(lambda: not alive(started.handle["pid"]))
    await harness.reopen()
    await harness.adopt(assignment, started.handle)
    ended = await harness.ended(assignment)
    assert (ended.state, ended.exit_code) == (AttemptState.FAILED, 5)
    assert ended.started_at == started.at


async def test_end_is_known_after_the_supervisor_has_left(harness: RuntimeHarness) -> None:
    """With nothing to do the supervisor ends; what it knew is on disk."""
    assignment = await harness.start(script="echo x; exit 5")
    await harness.ended(assignment)
    pid = harness.supervisor_pid
    await harness.runtime.close()
    await eventually_async(lambda: not alive(pid))
    await harness.reopen()
    assert harness.supervisor_pid != pid
    await harness.adopt(assignment, {})
    ended = await harness.ended(assignment)
    assert ended.exit_code == 5
    assert await harness.output(assignment) == b"x\n"


async def test_running_command_is_adopted_by_another_runtime(harness: RuntimeHarness) -> None:
    """A runtime opened later reports on the command as the one before would have."""
    assignment = await harness.start(script="while [ ! -e go ]; do sleep 0.02; done; exit 4")
    started = await harness.started(assignment)
    await harness.reopen()
    await harness.adopt(assignment, {})
    again = await harness.started(assignment)
    assert again.handle == started.handle
    (harness.directory(assignment.attempt_id) / "work" / "go").touch()
    assert (await harness.ended(assignment)).exit_code == 4


async def test_command_that_never_began_is_begun_by_adopting(harness: RuntimeHarness) -> None:
    """An attempt that was accepted and never started runs once it is adopted."""
    assignment = harness.assignment("echo", "late")
    harness.directory(assignment.attempt_id).mkdir(parents=True)
    await harness.adopt(assignment, {})
    assert (await harness.ended(assignment)).state is AttemptState.SUCCEEDED
    assert await harness.output(assignment) == b"late\n"


async def test_command_is_never_begun_without_its_secrets(harness: RuntimeHarness) -> None:
    """Adopting cannot begin what lacks secrets; the machinery is to blame, not the task."""
    assignment = harness.assignment("echo", "late", env={"KEY": SecretRef("key")})
    harness.directory(assignment.attempt_id).mkdir(parents=True)
    await harness.adopt(assignment, {})
    ended = await harness.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)


async def test_command_that_ran_and_left_no_trace_is_lost(harness: RuntimeHarness) -> None:
    """What is known to have begun is not begun again, even when its records are gone."""
    assignment = harness.assignment("echo", "twice")
    harness.directory(assignment.attempt_id).mkdir(parents=True)
    await harness.adopt(assignment, {"pid": 1})
    ended = await harness.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.LOST, Reason.EXIT_UNKNOWN)


async def test_starting_twice_runs_once(harness: RuntimeHarness) -> None:
    """A start that is repeated, as after a broken connection, changes nothing."""
    assignment = await harness.start(script="echo once; sleep 0.2")
    directory = harness.directory(assignment.attempt_id)
    await harness.runtime.start(assignment, directory)
    await harness.ended(assignment)
    await harness.reopen()
    await harness.runtime.start(assignment, directory)
    await harness.ended(assignment)
    assert await harness.output(assignment) == b"once\n"


async def test_release_forgets(harness: RuntimeHarness) -> None:
    """A released attempt is not reported on again."""
    assignment = await harness.start("true")
    await harness.ended(assignment)
    await harness.runtime.release([assignment.attempt_id])
    await harness.slay_supervisor()
    await harness.run("true")
    assert len(harness.ear.ends[assignment.attempt_id]) == 1


async def test_supervisor_killed_in_the_middle(harness: RuntimeHarness) -> None:
    """Commands go on without their supervisor; the next one watches, and can still kill them."""
    waiting = await harness.start(script="while [ ! -e go ]; do sleep 0.02; done; echo done")
    doomed = await harness.start(script="(setsid sleep 300 &); sleep 300")
    pid = (await harness.started(waiting)).handle["pid"]
    await harness.started(doomed)
    await harness.slay_supervisor()
    assert alive(pid)
    report = await harness.kill(doomed)
    assert report.survivors == ()
    assert (await harness.ended(doomed)).state is AttemptState.KILLED
    assert report.killed_count >= 2
    (harness.directory(waiting.attempt_id) / "work" / "go").touch()
    ended = await harness.ended(waiting)
    assert (ended.state, ended.reason) == (AttemptState.LOST, Reason.EXIT_UNKNOWN)
    assert await harness.output(waiting) == b"done\n"
    assert len(harness.ear.starts[waiting.attempt_id]) == 1
    assert (await harness.run("true")).state is AttemptState.SUCCEEDED


async def test_timeout_holds_after_the_supervisor_was_killed(harness: RuntimeHarness) -> None:
    """The time an attempt has does not begin again with a new supervisor."""
    assignment = await harness.start("sleep", "300", timeout_s=1.0)
    await harness.started(assignment)
    await harness.slay_supervisor()
    ended = await harness.ended(assignment)
    assert ended.reason is Reason.TIMEOUT


async def test_unwanted_work_is_killed(harness: RuntimeHarness) -> None:
    """What the engine does not know of any more is ended, also after a change of supervisors."""
    unwanted = await harness.start("sleep", "300")
    wanted = await harness.start("sleep", "300")
    pid = (await harness.started(unwanted)).handle["pid"]
    handle = (await harness.started(wanted)).handle
    await harness.reopen()
    await harness.adopt(wanted, handle)
    await harness.runtime.keep_only(frozenset({wanted.attempt_id}))
    await eventually_async(lambda: not alive(pid))
    assert alive(handle["pid"])


async def test_commands_survive_sigkill_of_their_client(tmp_path: Path) -> None:
    """The whole client process may die at once; commands and codes stay."""
    script = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        sys.path[:0] = sys.argv[1].split(":")
        from runtime_harness import RuntimeHarness
        async def main():
            harness = RuntimeHarness(Path(sys.argv[2]))
            await harness.open()
            a = await harness.start(script="while [ ! -e go ]; do sleep 0.02; done; exit 6")
            started = await harness.started(a)
            print("began", started.attempt_id, started.handle["pid"], flush=True)
            await asyncio.sleep(60)
        asyncio.run(main())
    """)
    folder = Path(__file__).parent
    tests = f"{folder}:{folder.parent}"
    with subprocess.Popen(  # noqa: ASYNC220 - it lives for a moment, and is killed
        [sys.executable, "-c", script, tests, str(tmp_path)], stdout=subprocess.PIPE
    ) as client:
        assert client.stdout is not None
        words: list[str] = []
        while words[:1] != ["began"]:  # Log lines may come before.
            line = await anyio.to_thread.run_sync(client.stdout.readline)
            assert line, "the client ended before it began a command"
            words = line.decode().split()
        attempt_id, pid = AttemptId(words[1]), int(words[2])
        os.kill(client.pid, signal.SIGKILL)
    assert alive(pid)
    harness = RuntimeHarness(tmp_path)
    await harness.open()
    try:
        assignment = harness.assignment(script="exit 99", attempt_id=attempt_id)
        await harness.adopt(assignment, {})
        (harness.directory(assignment.attempt_id) / "work" / "go").touch()
        assert (await harness.ended(assignment)).exit_code == 6
    finally:
        await harness.close()


async def test_second_supervisor_refuses(field: RuntimeHarness) -> None:
    """A directory has one supervisor."""
    command = [sys.executable, "-m", "taskyard.runtimes.command.supervisor"]
    done = await anyio.run_process([*command, str(field.root / "supervisor")], check=False)
    assert done.returncode == 3
    assert (await field.run("true")).state is AttemptState.SUCCEEDED


async def test_nothing_is_taken_for_a_command_of_an_earlier_boot(harness: RuntimeHarness) -> None:
    """After a restart of the machine a recorded pid means nothing, and nobody is killed for it."""
    bystander = await harness.start("sleep", "300")
    pid = (await harness.started(bystander)).handle["pid"]
    assignment = harness.assignment("true")
    directory = harness.directory(assignment.attempt_id)
    directory.mkdir()
    intent = '{"tree": {}, "boot_id": "another"}'
    facts = f'{{"pid": {pid}, "start_ticks": 1, "started_at": 5, "isolate": false}}'
    (directory / "attempt.jsonl").write_text(f"{intent}\n{facts}\n")
    await harness.adopt(assignment, {"pid": pid})
    ended = await harness.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.LOST, Reason.EXIT_UNKNOWN)
    assert alive(pid)


async def test_torn_record_is_as_good_as_its_whole_lines(harness: RuntimeHarness) -> None:
    """A line that a crash of the machine has cut off is ignored, and nothing runs twice."""
    assignment = harness.assignment("echo", "twice")
    directory = harness.directory(assignment.attempt_id)
    directory.mkdir(parents=True)
    (directory / "attempt.jsonl").write_text('{"tree": {}, "bo')
    await harness.adopt(assignment, {})
    assert (await harness.ended(assignment)).state is AttemptState.LOST
    assert not (directory / "stdout").exists()
