"""``taskyard function`` on a real server, as somebody meets it who begins, mistakes included."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from served import Served, serving
from taskyard.cli.main import run

ODD = (
    "def handle(request):\n"
    "    print('seen')\n"
    "    if request.text == 'fail': raise KeyError('k')\n"
    "    if request.text == 'bytes': return b'\\xff'\n"
    "    return (418, {}, 'tea')\n"
)
Ran = tuple[int, bytes, str]
Command = Callable[..., Ran]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running server."""
    with serving(tmp_path_factory.mktemp("commands") / "data") as served:
        yield served


@pytest.fixture
def command(
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Command:
    """Runs ``taskyard function`` in a new directory: exit code, output, error output."""
    monkeypatch.setenv("TASKYARD_URL", served.url)
    monkeypatch.setenv("TASKYARD_TOKEN", "dev")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Ran:
        code = run(["function", *arguments])
        out, err = capfdbinary.readouterr()
        return code, out, err.decode()

    return call


def document(ran: Ran, code: int = 0) -> Any:
    """The one JSON document that was printed; nothing went to the error output."""
    assert ran[0] == code, ran
    assert ran[2] == ""
    return json.loads(ran[1])


def test_from_a_template_to_a_rollback(command: Command) -> None:
    """Every command prints one whole JSON document."""
    files = document(command("init", "hello"))["files"]
    assert files == ["hello/handler.py", "hello/requirements.txt"]
    deployed = document(command("deploy", "hello", "hello", "--memory", "64MiB", "--tag", "t"))
    function, version = deployed["function"], deployed["version"]
    assert len(function["id"]) == 24
    assert (function["live_version"], version["number"], version["state"]) == (1, 1, "ready")
    assert (function["limits"]["memory"], function["tags"]) == (64 << 20, ["t"])
    assert "compiles" in deployed["log"]
    answer = document(command("invoke", "hello", "you", "--json"))
    assert json.loads(answer["body"]) == {"message": "Hello, you!"}
    assert (answer["status"], answer["headers"]["content-type"]) == (200, "application/json")
    assert len(answer["task_id"]) == 36
    detached = document(command("deploy", "hello", "hello", "-d"))
    assert set(detached) == set(deployed)
    assert detached["version"]["number"] == 2
    while document(command("versions", "hello"))[0]["state"] in {"pending", "building"}:
        pass
    listed = document(command("versions", "hello", "--json"))
    assert [(one["number"], one["state"]) for one in listed] == [(2, "ready"), (1, "ready")]
    logs = document(command("logs", "hello", "--version", "1", "--json"))
    assert logs == {"function": "hello", "version": 1, "log": deployed["log"]}
    assert command("logs", "hello", "--version", "1")[1].decode() == deployed["log"]
    assert document(command("rollback", "hello"))["live_version"] == 1
    assert document(command("rollback", "hello", "2", "--json"))["live_version"] == 2
    assert document(command("pause", "hello"))["paused"]
    assert not document(command("resume", "hello"))["paused"]
    assert "hello" in [one["name"] for one in document(command("ls"))]
    assert document(command("rm", "hello")) == {"removed": "hello"}
    deleted = document(command("ls", "--deleted"))
    assert function["id"] in [one["id"] for one in deleted]
    assert document(command("restore", function["id"]))["name"] == "hello"
    command("rm", "hello")
    restored = document(command("restore", "hello"))
    assert (restored["name"], restored["id"]) == ("hello", function["id"])


def test_what_a_function_answers(command: Command, tmp_path: Path) -> None:
    """Byte for byte; a failure of the function is told as its own."""
    (tmp_path / "odd.py").write_text(ODD)
    assert command("deploy", "odd", "odd.py")[0] == 0
    assert command("invoke", "odd", "bytes") == (0, b"\xff", "")
    assert document(command("invoke", "odd", "bytes", "--json"))["body_base64"] == "/w=="
    assert command("invoke", "odd") == (1, b"tea", "")
    assert document(command("invoke", "odd", "--json"), 1)["status"] == 418
    code, out, err = command("invoke", "odd", "fail")
    assert (code, out) == (1, b"")
    assert "\ntaskyard: KeyError: 'k'. See 'taskyard logs " in err
    told = json.loads(command("invoke", "odd", "fail", "--json")[2])
    assert (told["error"], told["exit_code"]) == ("KeyError: 'k'", 1)
    code, _, err = command("invoke", "odd", "--wait", "0s")
    assert (code, "continues as task" in err) == (75, True)
    piped = subprocess.run(
        [sys.executable, "-m", "taskyard", "function", "invoke", "odd", "-"],
        input=b"bytes",
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (piped.returncode, piped.stdout) == (0, b"\xff")


def test_without_a_server(command: Command, tmp_path: Path) -> None:
    """The same answers, and what was printed; a build that fails shows why."""
    (tmp_path / "odd.py").write_text(ODD)
    assert command("run-local", "odd.py") == (1, b"tea", "seen\nstatus 418\n")
    assert document(command("run-local", "odd.py", "bytes", "--json")) == {
        "stdout": "seen\n",
        "stderr": "",
        "status": 200,
        "headers": {"content-type": "application/octet-stream"},
        "body_base64": "/w==",
    }
    failed = document(command("run-local", "odd.py", "fail", "--json"), 1)
    assert (failed["error"], failed["stdout"]) == ("KeyError: 'k'", "seen\n")
    assert "Traceback" in failed["stderr"]
    (tmp_path / "bad.py").write_text("def handle(:\n")
    code, out, err = command("run-local", "bad.py")
    assert (code, out) == (1, b"")
    assert "SyntaxError" in err
    assert err.endswith("does not compile\n")


def test_a_build_that_fails(command: Command, tmp_path: Path) -> None:
    """Is told with its log, and is no success."""
    (tmp_path / "bad.py").write_text("def handle(:\n")
    told = document(command("deploy", "bad", "bad.py"), 1)
    assert (told["version"]["state"], told["function"]["live_version"]) == ("failed", None)
    assert "SyntaxError" in told["log"]
    code, _, err = command("invoke", "bad")
    assert (code, "no build that succeeded" in err) == (1, True)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("init here --language cobol", 2, "python, javascript"),
        ("init taken", 1, "already exists"),
        ("deploy x nowhere", 66, "No such file"),
        ("deploy x empty", 65, "language"),
        ("deploy b@d taken", 65, "letters"),
        ("deploy x taken --timeout soon", 2, "--timeout"),
        ("deploy x taken --memory 9x", 2, "--memory"),
        ("deploy x taken --cpu -1", 65, "cpu"),
        ("deploy x taken --language cobol", 65, "language"),
        ("invoke none", 66, "none"),
        ("invoke none --query x", 2, "NAME=VALUE"),
        ("invoke none --wait soon", 2, "--wait"),
        ("logs none", 66, "none"),
        ("versions none", 66, "none"),
        ("rollback none", 66, "none"),
        ("rollback none first", 2, "first"),
        ("pause none", 66, "none"),
        ("rm none", 66, "none"),
        ("restore none", 66, "none"),
        ("run-local empty", 2, "--language"),
        ("run-local nowhere", 66, "No such file"),
    ],
)
def test_mistakes(command: Command, tmp_path: Path, line: str, code: int, words: str) -> None:
    """Each has its words and its exit code, for people and for programs; nothing is printed."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "handler.py").write_text("def handle(request): return 1\n")
    ran = command(*line.split())
    assert ran[:2] == (code, b"")
    assert words in ran[2]
    assert ran[2].startswith("taskyard: ")
    told = json.loads(command(*line.split(), "--json")[2])
    assert (told["exit_code"], words in told["error"]) == (code, True)


def test_a_call_that_fails_shows_its_traceback_and_its_task(
    command: Command, tmp_path: Path
) -> None:
    """What failed, where in the handler, and where all of it is."""
    (tmp_path / "handler.py").write_text(ODD)
    document(command("deploy", "explained", "."))
    code, out, err = command("invoke", "explained", "fail")
    assert (code, out) == (1, b"")
    assert "Traceback (most recent call last):" in err
    assert "raise KeyError('k')" in err
    assert re.search(r"KeyError: 'k'. See 'taskyard logs [0-9a-f-]{36}'", err), err


def test_a_function_that_cannot_be_loaded_is_told_by_the_line_that_names_the_error(
    command: Command, tmp_path: Path
) -> None:
    """Not by the last line of what it wrote, which may be a bracket."""
    (tmp_path / "handler.py").write_text("raise ValueError('the settings are\\n{\\n}')\n")
    document(command("deploy", "bracket", "."))
    code, _, err = command("invoke", "bracket", "x")
    assert code == 1
    assert "\ntaskyard: ValueError: the settings are. See " in err, err
