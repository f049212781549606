"""Commands outlive the processes that look after them."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import pytest
from pasture import Pasture, alive

from eventually import eventually_async
from taskyard.core.ids import AttemptId
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import SecretRef

pytestmark = pytest.mark.anyio


async def test_exit_while_nobody_is_connected_is_told_later(pasture: Pasture) -> None:
    """The code of a command that ended while the server was away is not lost."""
    assignment = await pasture.start(script="while [ ! -e gone ]; do sleep 0.02; done; exit 5")
    started = await pasture.started(assignment)
    await pasture.runtime.close()
    (pasture.directory(assignment.attempt_id) / "work" / "gone").touch()
    await eventually_async(lambda: not alive(started.handle["pid"]))
    await pasture.reopen()
    await pasture.adopt(assignment, started.handle)
    ended = await pasture.ended(assignment)
    assert (ended.state, ended.exit_code) == (AttemptState.FAILED, 5)
    assert ended.started_at == started.at


async def test_end_is_known_after_the_shepherd_has_left(pasture: Pasture) -> None:
    """With nothing to do the shepherd ends; what it knew is on disk."""
    assignment = await pasture.start(script="echo x; exit 5")
    await pasture.ended(assignment)
    pid = pasture.shepherd_pid
    await pasture.runtime.close()
    await eventually_async(lambda: not alive(pid))
    await pasture.reopen()
    assert pasture.shepherd_pid != pid
    await pasture.adopt(assignment, {})
    ended = await pasture.ended(assignment)
    assert ended.exit_code == 5
    assert await pasture.output(assignment) == b"x\n"


async def test_running_command_is_adopted_by_another_runtime(pasture: Pasture) -> None:
    """A runtime opened later reports on the command as the one before would have."""
    assignment = await pasture.start(script="while [ ! -e go ]; do sleep 0.02; done; exit 4")
    started = await pasture.started(assignment)
    await pasture.reopen()
    await pasture.adopt(assignment, {})
    again = await pasture.started(assignment)
    assert again.handle == started.handle
    (pasture.directory(assignment.attempt_id) / "work" / "go").touch()
    assert (await pasture.ended(assignment)).exit_code == 4


async def test_command_that_never_began_is_begun_by_adopting(pasture: Pasture) -> None:
    """An attempt that was accepted and never started runs once it is adopted."""
    assignment = pasture.assignment("echo", "late")
    pasture.directory(assignment.attempt_id).mkdir(parents=True)
    await pasture.adopt(assignment, {})
    assert (await pasture.ended(assignment)).state is AttemptState.SUCCEEDED
    assert await pasture.output(assignment) == b"late\n"


async def test_command_is_never_begun_without_its_secrets(pasture: Pasture) -> None:
    """Adopting cannot begin what lacks secrets; the machinery is to blame, not the task."""
    assignment = pasture.assignment("echo", "late", env={"KEY": SecretRef("key")})
    pasture.directory(assignment.attempt_id).mkdir(parents=True)
    await pasture.adopt(assignment, {})
    ended = await pasture.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)


async def test_command_that_ran_and_left_no_trace_is_lost(pasture: Pasture) -> None:
    """What is known to have begun is not begun again, even when its records are gone."""
    assignment = pasture.assignment("echo", "twice")
    pasture.directory(assignment.attempt_id).mkdir(parents=True)
    await pasture.adopt(assignment, {"pid": 1})
    ended = await pasture.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.LOST, Reason.EXIT_UNKNOWN)


async def test_starting_twice_runs_once(pasture: Pasture) -> None:
    """A start that is repeated, as after a broken connection, changes nothing."""
    assignment = await pasture.start(script="echo once; sleep 0.2")
    directory = pasture.directory(assignment.attempt_id)
    await pasture.runtime.start(assignment, directory)
    await pasture.ended(assignment)
    await pasture.reopen()
    await pasture.runtime.start(assignment, directory)
    await pasture.ended(assignment)
    assert await pasture.output(assignment) == b"once\n"


async def test_release_forgets(pasture: Pasture) -> None:
    """A released attempt is not reported on again."""
    assignment = await pasture.start("true")
    await pasture.ended(assignment)
    await pasture.runtime.release([assignment.attempt_id])
    await pasture.slay_shepherd()
    await pasture.run("true")
    assert len(pasture.ear.ends[assignment.attempt_id]) == 1


async def test_shepherd_killed_in_the_middle(pasture: Pasture) -> None:
    """Commands go on without their shepherd; the next one watches, and can still kill them."""
    waiting = await pasture.start(script="while [ ! -e go ]; do sleep 0.02; done; echo done")
    doomed = await pasture.start(script="(setsid sleep 300 &); sleep 300")
    pid = (await pasture.started(waiting)).handle["pid"]
    await pasture.started(doomed)
    await pasture.slay_shepherd()
    assert alive(pid)
    report = await pasture.kill(doomed)
    assert report.survivors == ()
    assert (await pasture.ended(doomed)).state is AttemptState.KILLED
    assert report.killed_count >= 2
    (pasture.directory(waiting.attempt_id) / "work" / "go").touch()
    ended = await pasture.ended(waiting)
    assert (ended.state, ended.reason) == (AttemptState.LOST, Reason.EXIT_UNKNOWN)
    assert await pasture.output(waiting) == b"done\n"
    assert len(pasture.ear.starts[waiting.attempt_id]) == 1
    assert (await pasture.run("true")).state is AttemptState.SUCCEEDED


async def test_timeout_holds_after_the_shepherd_was_killed(pasture: Pasture) -> None:
    """The time an attempt has does not begin anew with a new shepherd."""
    assignment = await pasture.start("sleep", "300", timeout_s=1.0)
    await pasture.started(assignment)
    await pasture.slay_shepherd()
    ended = await pasture.ended(assignment)
    assert ended.reason is Reason.TIMEOUT


async def test_unwanted_work_is_killed(pasture: Pasture) -> None:
    """What the engine does not know of any more is ended, also after a change of shepherds."""
    unwanted = await pasture.start("sleep", "300")
    wanted = await pasture.start("sleep", "300")
    pid = (await pasture.started(unwanted)).handle["pid"]
    handle = (await pasture.started(wanted)).handle
    await pasture.reopen()
    await pasture.adopt(wanted, handle)
    await pasture.runtime.keep_only(frozenset({wanted.attempt_id}))
    await eventually_async(lambda: not alive(pid))
    assert alive(handle["pid"])


async def test_commands_survive_sigkill_of_their_client(tmp_path: Path) -> None:
    """The whole client process may die at once; commands and codes stay."""
    script = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from pasture import Pasture
        async def main():
            pasture = Pasture(Path(sys.argv[2]))
            await pasture.open()
            a = await pasture.start(script="while [ ! -e go ]; do sleep 0.02; done; exit 6")
            started = await pasture.started(a)
            print("began", started.attempt_id, started.handle["pid"], flush=True)
            await asyncio.sleep(60)
        asyncio.run(main())
    """)
    tests = str(Path(__file__).parent)
    with subprocess.Popen(  # noqa: ASYNC220 - it lives for a moment, and is killed
        [sys.executable, "-c", script, tests, str(tmp_path)], stdout=subprocess.PIPE
    ) as client:
        assert client.stdout is not None
        words: list[str] = []
        while words[:1] != ["began"]:  # Log lines may come before.
            words = (await anyio.to_thread.run_sync(client.stdout.readline)).decode().split()
        attempt_id, pid = AttemptId(words[1]), int(words[2])
        os.kill(client.pid, signal.SIGKILL)
    assert alive(pid)
    pasture = Pasture(tmp_path)
    await pasture.open()
    try:
        assignment = pasture.assignment(script="exit 99", attempt_id=attempt_id)
        await pasture.adopt(assignment, {})
        (pasture.directory(assignment.attempt_id) / "work" / "go").touch()
        assert (await pasture.ended(assignment)).exit_code == 6
    finally:
        await pasture.close()


async def test_second_shepherd_refuses(field: Pasture) -> None:
    """A directory has one shepherd."""
    command = [sys.executable, "-m", "taskyard.runtimes.command.supervisor"]
    done = await anyio.run_process([*command, str(field.root / "shepherd")], check=False)
    assert done.returncode == 3
    assert (await field.run("true")).state is AttemptState.SUCCEEDED


async def test_nothing_is_taken_for_a_command_of_an_earlier_boot(pasture: Pasture) -> None:
    """After a restart of the machine a recorded pid means nothing, and nobody is killed for it."""
    bystander = await pasture.start("sleep", "300")
    pid = (await pasture.started(bystander)).handle["pid"]
    assignment = pasture.assignment("true")
    directory = pasture.directory(assignment.attempt_id)
    directory.mkdir()
    intent = '{"tree": {}, "boot_id": "another"}'
    facts = f'{{"pid": {pid}, "start_ticks": 1, "started_at": 5, "isolate": false}}'
    (directory / "attempt.jsonl").write_text(f"{intent}\n{facts}\n")
    await pasture.adopt(assignment, {"pid": pid})
    ended = await pasture.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.LOST, Reason.EXIT_UNKNOWN)
    assert alive(pid)


async def test_torn_record_is_as_good_as_its_whole_lines(pasture: Pasture) -> None:
    """A line that a crash of the machine has cut off is ignored, and nothing runs twice."""
    assignment = pasture.assignment("echo", "twice")
    directory = pasture.directory(assignment.attempt_id)
    directory.mkdir(parents=True)
    (directory / "attempt.jsonl").write_text('{"tree": {}, "bo')
    await pasture.adopt(assignment, {})
    assert (await pasture.ended(assignment)).state is AttemptState.LOST
    assert not (directory / "stdout").exists()
