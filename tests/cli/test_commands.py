"""What the commands print, and how they exit."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from command_line import Inside


def read(answer: tuple[int, bytes, bytes]) -> Any:
    """The JSON a command printed; it must have succeeded."""
    code, out, err = answer
    assert (code, err) == (0, b"")
    return json.loads(out)


def submit(inside: Inside, *arguments: str) -> str:
    """Submit a shell line; its id."""
    ident: str = read(inside("submit", *arguments))["id"]
    return ident


def test_submit_list_show(inside: Inside) -> None:
    """A task can be submitted, listed, counted and shown as JSON."""
    task = submit(inside, "-g", "lst", "-l", "a=b", "-s", "echo hi; exit 1")
    assert inside("wait", task)[0] == 1
    assert [each["id"] for each in read(inside("ls", "-g", "lst", "--label", "a=b"))] == [task]
    assert read(inside("ls", "-g", "lst", "--state", "queued")) == []
    assert read(inside("ls", "--counts"))["failed"] >= 1
    shown = read(inside("show", "@last"))
    assert (shown["id"], shown["exit_code"], len(shown["attempts"])) == (task, 1, 1)
    assert read(inside("why", task))["story"] == ["attempt 1 ran"]
    assert read(inside("events", task, "--history"))[0]["kind"] == "submitted"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('[{"command": "true"}, {"command": ["true"], "group": "own"}]', 2),
        ('{"command": "true"}\n{"command": "true"}\n\n{"command": "true"}\n', 3),
    ],
)
def test_submit_many(inside: Inside, tmp_path: Path, text: str, count: int) -> None:
    """Lists and JSON lines are submitted as batches; options fill what they leave out."""
    (tmp_path / "specs").write_text(text)
    outcomes = read(inside("submit", "-g", "bulk", "-f", "specs"))
    assert len(outcomes) == count
    assert all(each["created"] for each in outcomes)
    assert read(inside("show", outcomes[0]["id"]))["group"] == "bulk"


def test_submit_waits_for_an_overloaded_server(inside: Inside, url: str, tmp_path: Path) -> None:
    """A batch is sent again after the time the server asks for."""
    (tmp_path / "specs").write_text('[{"command": "true"}]')
    httpx2.post(f"{url}/faults", json={"refuse": [429, 429]}).raise_for_status()
    assert len(read(inside("submit", "-f", "specs"))) == 1


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "[1]", '{"command": "x"}\nnonsense'])
def test_submit_refuses_what_is_no_specification(inside: Inside, tmp_path: Path, text: str) -> None:
    """A file that cannot be read as specifications is a wrong command line."""
    (tmp_path / "specs").write_text(text)
    code, out, err = inside("submit", "-f", "specs")
    assert (code, out) == (2, b"")
    assert err.startswith(b"taskyard: specs")


def test_logs_by_stream_offset_and_json(inside: Inside) -> None:
    """Output is printed raw, from an offset, or as JSON lines."""
    task = submit(inside, "-s", "printf 0123456789; printf 'e\\377' >&2")
    inside("wait", task)
    assert inside("logs", task) == (0, b"0123456789", b"e\xff")
    assert inside("logs", task, "--stream", "stdout", "--offset", "7") == (0, b"789", b"")
    assert inside("logs", "-f", task) == (0, b"0123456789", b"e\xff")
    lines = [json.loads(line) for line in inside("logs", "-f", "--json", task)[1].splitlines()]
    assert [line["type"] for line in lines] == ["output", "output", "exit"]
    assert lines[1]["base64"] == "Zf8="
    assert inside("logs", task, "--offset", "7")[0] == 2


def test_logs_of_a_running_task_end_at_the_present_end(inside: Inside) -> None:
    """Without --follow nothing is waited for."""
    task = submit(inside, "-s", "echo begun; sleep 60")
    while inside("logs", task) != (0, b"begun\n", b""):
        assert inside("logs", task)[0] == 0
    assert inside("kill", task)[0] == 0


def test_logs_with_the_time_of_each_line(inside: Inside) -> None:
    """In front of both streams, whether followed or not, and in JSON."""
    task = submit(inside, "-s", "echo one; printf two; echo err >&2")
    inside("wait", task)
    at = b"2026-11-29T12:00:00.000001Z "
    for options in ((), ("-f",)):
        code, out, err = inside("logs", task, "--timestamps", *options)
        assert (code, out, err) == (0, at + b"one\n" + at + b"two", at + b"err\n")
    only = inside("logs", task, "-t", "--stream", "stderr")
    assert only == (0, b"", at + b"err\n")
    line = json.loads(inside("logs", "-t", "--json", task)[1].splitlines()[0])
    assert line["at"] == at.decode().strip()


def test_logs_follow_every_attempt(inside: Inside) -> None:
    """Following a task that is retried goes on to its end."""
    task = submit(inside, "--retries", "2", "-s", "echo try; exit 1")
    code, out, _ = inside("logs", "-f", task)
    assert code == 0
    assert out.count(b"try\n") >= 1
    inside("wait", task)
    assert inside("logs", task, "--attempt", "1")[1] == b"try\n"


def test_kill_reports_the_proof(inside: Inside) -> None:
    """A kill waits for its report; an ended or unknown task makes it fail."""
    task = submit(inside, "--", "sleep", "60")
    while read(inside("show", task))["state"] != "running":
        pass
    report = read(inside("kill", task))[0]
    assert (report["outcome"], report["state"]) == ("killing", "cancelled")
    assert report["kill_report"]["survivors"] == []
    assert inside("kill", task)[0] == 1
    assert inside("kill")[0] == 2
    assert inside("kill", "nope")[0] == 66
    waiting = submit(inside, "-g", "kg", "--in", "1h", "--", "true")
    assert read(inside("kill", "-g", "kg")) == [{"task_id": waiting, "outcome": "cancelled"}]


def test_parked(inside: Inside) -> None:
    """What could not be dealt with, and why."""
    code, out, _ = inside("parked")
    assert code == 0
    (one,) = json.loads(out)
    assert one["kind"] == "task"
    assert "is not a known time zone" in one["reason"]


def test_retry_and_rm(inside: Inside) -> None:
    """An ended task can be submitted again, and removed."""
    task = submit(inside, "--", "false")
    inside("wait", task)
    again = read(inside("retry", task))
    assert again["retry_of"] == task
    assert read(inside("rm", task)) == {"removed": [task]}
    assert inside("show", task)[0] == 66


def test_wait_runs_out_of_time(inside: Inside) -> None:
    """A task that has not ended in time is something to try again."""
    task = submit(inside, "--in", "1h", "--", "true")
    assert inside("wait", "--timeout", "50ms", task)[0] == 75


def test_cron(inside: Inside) -> None:
    """Recurring tasks are added, listed, edited and ended."""
    task = read(inside("cron", "add", "0 8 * * *", "--tz", "Europe/Berlin", "--", "true"))
    assert (task["cron"], task["timezone"]) == ("0 8 * * *", "Europe/Berlin")
    assert task["id"] in [each["id"] for each in read(inside("cron", "ls"))]
    assert read(inside("cron", "edit", "@last", "--rule", "5 8 * * *"))["cron"] == "5 8 * * *"
    assert read(inside("cron", "rm", task["id"]))[0]["outcome"] == "cancelled"
    once = submit(inside, "--", "true")
    assert inside("cron", "rm", once)[0] == 1
    assert inside("cron", "edit", task["id"])[0] == 2


def test_groups(inside: Inside) -> None:
    """Groups are paused, resumed and limited."""
    assert read(inside("group", "pause", "grp"))["paused"] is True
    assert read(inside("group", "resume", "grp"))["paused"] is False
    assert read(inside("group", "limit", "grp", "4"))["concurrency_limit"] == 4
    assert read(inside("group", "limit", "grp", "none"))["concurrency_limit"] is None
    assert inside("group", "limit", "grp", "many")[0] == 2
    assert "grp" in [each["name"] for each in read(inside("group", "ls"))]


def test_lists_of_the_rest(inside: Inside) -> None:
    """Workers, deliveries, the audit trail and the versions print as JSON."""
    assert read(inside("worker", "ls"))[0]["id"] == "w1"
    assert read(inside("worker", "drain", "w1"))["state"] == "draining"
    assert read(inside("worker", "undrain", "w1"))["state"] == "ready"
    assert read(inside("worker", "scaling", "g", "--slots", "4"))["wanted"] == 5
    assert read(inside("webhook", "ls")) == []
    assert read(inside("audit"))[0]["action"] == "task.submit"
    assert read(inside("version", "--server", "--json"))["server"] == "9.9.9"


def test_errors_are_one_sentence(inside: Inside) -> None:
    """Errors go to standard error, as JSON on request."""
    code, out, err = inside("show", "nope")
    assert (code, out) == (66, b"")
    assert err == b"taskyard: no task 'nope' in this workspace\n"
    code, _, err = inside("show", "nope", "--json")
    assert json.loads(err)["exit_code"] == 66
    assert inside("submit", "-s", "")[0] == 65
    assert inside("retry", submit(inside, "--in", "1h", "--", "true"))[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("nope",),
        ("show",),
        ("show", "a", "--nope"),
        ("ls", "--state", "sleepy"),
        ("ls", "--limit", "0"),
        ("submit", "--timeout", "soon", "--", "true"),
        ("submit", "--env", "novalue", "--", "true"),
        ("submit", "--at", "tomorrow", "--", "true"),
        ("submit", "--metadata", "[]", "--", "true"),
        ("submit", "-s", "a", "--", "b"),
        ("show", "@last", "--url", "ftp://x"),
        ("up", "--listen", "fastlane"),
        ("up", "--memory", "much"),
    ],
)
def test_misuse_is_2(inside: Inside, arguments: tuple[str, ...]) -> None:
    """A wrong command line exits with 2 and one line that says what is wrong."""
    inside("submit", "--", "true")
    code, out, err = inside(*arguments)
    assert (code, out) == (2, b"")
    assert err.startswith(b"taskyard: ")
    assert err.count(b"\n") == 1
