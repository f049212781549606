"""``taskyard run`` as a user runs it."""

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest
from command_line import PROGRAM, Program, read_terminal


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--", "true"], 0),
        (["--", "sh", "-c", "exit 7"], 7),
        (["--", "sh", "-c", "kill -USR1 $$"], 128 + signal.SIGUSR1),
        (["--timeout", "200ms", "--", "sleep", "30"], 124),
        (["--", "no-such-program-here"], 127),
        (["--", "/"], 126),
        (["--retries", "2", "--shell", "exit 5"], 5),
    ],
)
def test_exits_as_the_command_does(program: Program, arguments: list[str], code: int) -> None:
    """The exit code is the command's own, or says how it came to its end."""
    assert program("run", *arguments).returncode == code


def test_streams_are_kept_apart_byte_for_byte(program: Program) -> None:
    """What is not UTF-8 arrives as it is, each stream on its own."""
    done = program("run", "-s", "printf 'a\\377\\n'; printf 'e\\376\\n' >&2")
    assert (done.stdout, done.stderr, done.returncode) == (b"a\xff\n", b"e\xfe\n", 0)


def test_one_argument_stays_one(program: Program) -> None:
    """An argument with spaces and options of the command's own are passed on as they are."""
    done = program("run", "--", "printf", "[%s]", "a b", "--json", "--", "-x")
    assert done.stdout == b"[a b][--json][--][-x]"


def test_members_reach_the_task(program: Program) -> None:
    """Flags become members; standard input is passed on."""
    done = program(
        *("run", "-e", "A=1=2", "-e", "S=@secret:db", "--stdin-file", "-", "--label", "k=v"),
        *("-g", "mail", "-n", "me", "-p", "-5", "--memory", "64MiB", "--grace", "3s", "--json"),
        *("--backoff", "1s..1m", "--expires", "1h", "--webhook", "http://h/", "--", "cat"),
        stdin=b"typed\n",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"typed\n", b"")
    task = json.loads(program("show", "@last").stdout)
    assert task["env"] == {"A": "1=2", "S": {"secret": "db"}}
    assert (task["group"], task["name"], task["priority"]) == ("mail", "me", -5)
    assert task["labels"] == {"k": "v"}
    assert task["resources"]["memory"] == 64 << 20
    assert task["kill"]["grace_s"] == 3
    assert (task["retry"]["backoff_min_s"], task["retry"]["backoff_max_s"]) == (1, 60)
    assert task["webhooks"][0]["url"] == "http://h/"
    assert task["attempts"][0]["state"] == "succeeded"


def test_detach_prints_the_id(program: Program) -> None:
    """A detached task runs on, and can be awaited."""
    task_id = program("run", "-d", "--", "sh", "-c", "echo late; exit 2").stdout.decode().strip()
    assert program("wait", task_id).returncode == 1
    assert program("logs", task_id).stdout == b"late\n"


def test_trouble_is_125(program: Program) -> None:
    """What goes wrong on Taskyard's side is told apart from the command's own end."""
    done = program("run", "--", "true", TASKYARD_URL="http://127.0.0.1:9", TASKYARD_TOKEN="dev")
    assert done.returncode == 125
    assert b"no answer from http://127.0.0.1:9" in done.stderr
    assert program("run").returncode == 2
    assert program("run", "--cron", "* * * * *", "--", "true").returncode == 2


def test_sigterm_kills(environment: dict[str, str], tmp_path: Path) -> None:
    """Without a terminal a signal kills the task, and the exit code says so."""
    process = subprocess.Popen(
        [*PROGRAM, "run", "--", "sh", "-c", "echo up; exec sleep 60"],
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"cancelled" in err


SCRIPT = "echo up; trap 'echo bye; exit 9' TERM; for i in $(seq 600); do sleep 0.1; done"


def on_terminal(
    environment: dict[str, str], tmp_path: Path, answer: bytes, script: str = SCRIPT
) -> tuple[int, bytes]:
    """Run a command on a terminal, press Ctrl-C, give an answer; exit code and screen.

    Presses Ctrl-C again once told what that does.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        command = [*PROGRAM, "run", "--", "sh", "-c", script]
        os.execve(command[0], command, environment)  # noqa: S606 - behind a fork for the pty
    screen = b""
    sent: list[bytes] = []
    try:
        while data := read_terminal(terminal, screen):
            screen += data
            if b"up" in screen and not sent:
                os.write(terminal, b"\x03")
                sent.append(b"\x03")
            elif b"[c]ontinue?" in screen and len(sent) == 1:
                os.write(terminal, answer)
                sent.append(answer)
            elif b"interrupt again" in screen and len(sent) == 2 and script != SCRIPT:
                os.write(terminal, b"\x03")
                sent.append(b"\x03")
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(status), screen


def test_ctrl_c_asks_and_kills(environment: dict[str, str], tmp_path: Path) -> None:
    """After ``k`` the task is killed, and its last output is still seen."""
    code, screen = on_terminal(environment, tmp_path, b"k\n")
    assert code == 9
    assert b"bye" in screen


@pytest.mark.parametrize("answer", [b"d\n", b"\x03"])
def test_ctrl_c_asks_and_detaches(
    environment: dict[str, str], tmp_path: Path, program: Program, answer: bytes
) -> None:
    """After ``d``, or Ctrl-C once more, the task runs on."""
    code, screen = on_terminal(environment, tmp_path, answer)
    assert code == 130
    assert b"detached" in screen
    assert json.loads(program("show", "@last").stdout)["state"] == "running"
    assert program("kill", "@last").returncode == 0


def test_second_ctrl_c_is_announced_and_detaches(
    environment: dict[str, str], tmp_path: Path, program: Program
) -> None:
    """Who does not want to wait for the grace is told how, and what becomes of the task."""
    stubborn = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    code, screen = on_terminal(environment, tmp_path, b"k\n", stubborn)
    assert code == 130
    assert b"killing the task; interrupt again to detach" in screen
    assert b"detached; it is still being killed" in screen
    assert program("kill", "--signal", "SIGKILL", "@last").returncode == 0


def test_what_it_waits_for_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    """On a terminal, on standard error, and once while it is the same."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        command = [*PROGRAM, "run", "--in", "1h", "--", "true"]
        os.execve(command[0], command, environment)  # noqa: S606 - behind a fork for the pty
    screen, asked, answered = b"", False, False
    try:
        while data := read_terminal(terminal, screen):
            screen += data
            if b"taskyard: waiting: " in screen and not asked:
                asked = True
                os.write(terminal, b"\x03")
            elif b"[c]ontinue?" in screen and not answered:
                answered = True
                os.write(terminal, b"k\n")
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert answered, screen
    assert os.waitstatus_to_exitcode(status) != 0
    assert screen.count(b"waiting: ") == 1


def test_broken_pipe_cancels(environment: dict[str, str], tmp_path: Path) -> None:
    """When nobody reads the output any more, the task ends as it would in a pipeline."""
    line = f"{PROGRAM[0]} -c '{PROGRAM[2]}' run -- yes | head -c 4"
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=environment, cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout == b"y\ny\n"
    wait = [*PROGRAM, "wait", "--timeout", "20s", "@last"]
    assert subprocess.run(wait, env=environment, cwd=tmp_path, check=False).returncode == 1


def test_events_stream_until_interrupted(environment: dict[str, str], tmp_path: Path) -> None:
    """Changes come as JSON lines until Ctrl-C."""
    process = subprocess.Popen(
        [*PROGRAM, "events"], env=environment, cwd=tmp_path, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert [line["type"] for line in lines] == ["change", "gap"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
