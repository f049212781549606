"""The command line and the client against the server itself, started by ``taskyard up``."""

import json
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from command_line import PROGRAM, Finished

from eventually import eventually
from leftovers import short_directory
from taskyard.sdk import Client, errors
from taskyard.sdk.client_models import Output
from taskyard.sdk.models import Exit


class Node:
    """A server on a data directory of its own, and the command line that finds it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(data / "home")}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        (self.data / "server.json").unlink(missing_ok=True)
        with (self.data / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, "up", "--dev", "--data", str(self.data), "--port", "0"],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.data / "log").read_text()
            return (self.data / "server.json").exists()

        eventually(answers, of=(self.data / "log").read_text)

    def stop(self, number: int) -> None:
        """End it by a signal."""
        assert self.process is not None
        self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def run(self, *arguments: str, stdin: bytes = b"") -> Finished:
        """One command line."""
        return subprocess.run(
            [*PROGRAM, *arguments],
            input=stdin,
            capture_output=True,
            env={**self.environment, "TASKYARD_DATA": str(self.data)},
            cwd=self.data,
            timeout=50,
            check=False,
        )

    def client(self) -> Client:
        """A client at the control socket."""
        return Client(f"unix:{self.data}/control.sock", retries=8)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A running server."""
    with short_directory() as directory:
        node = Node(directory)
        node.start()
        try:
            yield node
        finally:
            with node.client() as client:
                client.cancel_many(group="default")
            node.stop(signal.SIGTERM)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--", "true"], 0),
        (["--", "sh", "-c", "exit 7"], 7),
        (["-s", "kill -USR1 $$"], 128 + signal.SIGUSR1),
        (["-s", "kill -35 $$"], 128 + 35),
        (["--timeout", "300ms", "--", "sleep", "30"], 124),
        (["--", "no-such-program-here"], 127),
        (["--", "/"], 126),
        (["--cwd", "/no/such/directory", "--", "true"], 126),
        (["--retries", "1", "--backoff", "0.1", "-s", "exit 5"], 5),
    ],
)
def test_run_exits_as_the_command_does(node: Node, arguments: list[str], code: int) -> None:
    """The exit codes of ``run`` hold for what the server really reports."""
    assert node.run("run", *arguments).returncode == code


def test_members_are_understood(node: Node) -> None:
    """What the flags make of a task is what the server takes."""
    node.run("secret", "set", "db", "--value-stdin", stdin=b"hidden")
    done = node.run(
        *("run", "-e", "A=1=2", "-e", "S=@secret:db", "--stdin-file", "-", "--label", "k=v"),
        *("-g", "mail", "-n", "me", "-p", "-5", "--pids", "64", "--grace", "3s", "--key", "one"),
        *("--backoff", "1s..1m", "--expires", "1h", "--metadata", '{"x": 1}', "--log-limit", "1M"),
        *("--signal", "SIGINT", "--no-rerun", "--timeout", "20s", "-s", 'cat; echo "$A $S"'),
        stdin=b"typed\n",
    )
    assert (done.returncode, done.stdout) == (0, b"typed\n1=2 hidden\n")
    shown = json.loads(node.run("show", "@last").stdout)
    assert (shown["group"], shown["name"], shown["priority"]) == ("mail", "me", -5)
    assert shown["rerun_if_lost"] is False
    listed = json.loads(node.run("ls", "-g", "mail", "--label", "k=v", "--text", "me").stdout)
    assert [each["id"] for each in listed] == [shown["id"]]
    assert node.run("submit", "-p", "1000", "--", "true").returncode == 65


def test_kill_proves_that_nothing_survived(node: Node) -> None:
    """A task that ignores the signal is killed outright, and the proof is printed."""
    task = json.loads(
        node.run(
            "submit", "--grace", "200ms", "-s", "trap '' TERM; echo up; sleep 60 & wait"
        ).stdout
    )["id"]
    with node.client() as client:
        assert next(client.follow(task)) == Output(1, "stdout", 0, b"up\n")
    report = json.loads(node.run("kill", task).stdout)[0]
    assert report["state"] == "cancelled"
    assert (report["kill_report"]["forced"], report["kill_report"]["survivors"]) == (True, [])


TURNS = "for i in 1 2 3; do echo o$i; sleep 0.05; echo e$i >&2; sleep 0.05; done"
IN_ORDER = b"o1\ne1\no2\ne2\no3\ne3\n"


@pytest.mark.parametrize("long", ["", "head -c 400000 /dev/zero"])
def test_both_streams_are_printed_in_the_order_they_came(node: Node, long: str) -> None:
    """While the task runs and afterwards, out of the store and out of archives."""
    script = f"{TURNS}; {long}"

    def mixed(*arguments: str) -> bytes:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**node.environment, "TASKYARD_DATA": str(node.data)},
            timeout=50,
            check=True,
        )
        return done.stdout[: len(IN_ORDER)]

    assert mixed("run", "-q", "-s", script) == IN_ORDER
    assert mixed("logs", "@last") == IN_ORDER
    assert mixed("logs", "-f", "@last") == IN_ORDER
    lines = node.run("logs", "--timestamps", "@last").stdout.splitlines()[:3]
    times = [line.split(b" ")[0] for line in lines]
    assert [line.split(b" ")[1] for line in lines] == [b"o1", b"o2", b"o3"]
    assert times == sorted(set(times))


def test_output_that_is_gone_is_told(node: Node) -> None:
    """Deleted by hand: an error rather than nothing, and the rest all the same."""
    task = json.loads(node.run("submit", "-s", "head -c 100000 /dev/zero; echo err >&2").stdout)
    node.run("wait", task["id"])
    with node.client() as client:
        (attempt,) = client.attempts(task["id"])
    (node.data / "attempts" / attempt.id / "stdout").unlink()
    for options in ((), ("-f",)):
        done = node.run("logs", task["id"], *options)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(b"err\n")
        assert b"100000 bytes of stdout of attempt 1 are gone" in done.stderr
    alone = node.run("logs", task["id"], "--stream", "stdout")
    assert alone.returncode == 1
    assert alone.stderr.startswith(b"taskyard: 100000 bytes of stdout of attempt 1 are gone")


def test_followers_of_a_task_that_never_runs_end(node: Node) -> None:
    """Cancelling a waiting task ends who follows it."""
    with node.client() as client:
        task = client.submit("true", start_in_s=3600)
        assert "starts" in client.why(task.id).summary
        client.cancel(task.id)
        assert [each.attempt for each in client.follow_task(task.id)] == [0]


def test_a_late_follower_sees_every_attempt(node: Node) -> None:
    """Also when all is over, so that each of them ended with a task that has ended by now."""
    with node.client() as client:
        policy = {"max_attempts": 3, "backoff_min_s": 0, "jitter": 0}
        task = client.submit('echo "$TASKYARD_ATTEMPT"; exit 7', retry=policy)
        assert client.wait(task.id, 30).state == "dead"
        records = list(client.follow_task(task.id))
    ends = [each for each in records if isinstance(each, Exit)]
    assert [(each.attempt, each.exit_code) for each in ends] == [(1, 7), (2, 7), (3, 7)]
    assert {each.attempt for each in records if not isinstance(each, Exit)} == {1, 2, 3}


def test_follow_survives_a_killed_server(node: Node) -> None:
    """A follower that loses its server sees every byte once when it is back."""
    script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.01; done; exit 4"
    seen = b""
    with node.client() as client:
        task = client.submit(script)
        for record in client.follow_task(task.id):
            if isinstance(record, Exit):
                assert (record.exit_code, record.stdout) == (4, len(seen))
                continue
            if b"line 20\n" in record.data:
                node.stop(signal.SIGKILL)
                node.start()
            seen += record.data
    assert seen == b"".join(b"line %d\n" % i for i in range(1, 301))


def test_the_rest_of_the_surface(node: Node) -> None:
    """Every other call is answered as the client expects."""
    with node.client() as client:
        assert client.pause("calm").paused
        assert client.set_group_limit("calm", 3).concurrency_limit == 3
        assert client.set_group_limit("calm", None).concurrency_limit is None
        assert not client.resume("calm").paused
        assert "calm" in [each.name for each in client.groups()]
        assert client.workspace().name == "default"
        assert client.set_workspace_limit(None).concurrency_limit is None
        assert client.workers()[0].capacity.slots > 0
        token = client.create_token("ci", "write", 60)
        assert token.id in [each.id for each in client.tokens()]
        client.revoke_token(token.id)
        client.add_user("ann", "long enough", "read")
        assert "ann" in [each.name for each in client.users()]
        client.remove_user("ann")
        client.set_secret("temporary", "x")
        assert "temporary" in client.secrets()
        client.remove_secret("temporary")
        assert list(client.deliveries()) == []
        assert next(client.audit()).outcome == "done"
        assert client.me().role == "admin"
        assert client.version().api == "v1"
        assert client.health()
        ended = client.wait(client.submit("printf 0123456789; exit 1").id, 20)
        assert b"".join(client.log_chunks(ended.id, offset=4)) == b"456789"
        assert client.retry(ended.id).retry_of == ended.id
        assert next(client.events(ended.id)).kind == "submitted"
        client.delete(ended.id)
        with pytest.raises(errors.NotFound):
            client.get(ended.id)
        batch = client.submit_many([{"command": "true", "group": "pg"}] * 5)
        assert [each.id for each in client.list(group="pg", limit=2)] == [
            each.id for each in reversed(batch)
        ]


def test_the_history_of_a_running_task_is_followed(node: Node) -> None:
    """What happens meanwhile is printed too, up to the end."""
    # The command may run as another user, who does not get into a test's own directory.
    gate = Path(tempfile.gettempdir()) / f"taskyard-gate-{os.getpid()}"
    os.mkfifo(gate)
    gate.chmod(0o666)
    task = node.run("submit", "-q", "--", "cat", str(gate)).stdout.decode().strip()
    environment = {**node.environment, "TASKYARD_DATA": str(node.data)}
    with subprocess.Popen(
        [*PROGRAM, "events", task, "--json"], env=environment, stdout=subprocess.PIPE
    ) as following:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["kind"] == "submitted"
        gate.write_text("go on", "utf-8")
        gate.unlink()
        rest = [json.loads(line)["kind"] for line in following.stdout]
        assert following.wait(20) == 0
    assert rest[-1] == "succeeded"


def test_cron(node: Node) -> None:
    """Recurring tasks are added, listed, edited and ended."""
    add = node.run("cron", "add", "0 8 * * *", "--tz", "Europe/Berlin", "--", "true")
    task = json.loads(add.stdout)["id"]
    assert task in [each["id"] for each in json.loads(node.run("cron", "ls").stdout)]
    edited = json.loads(node.run("cron", "edit", task, "--rule", "5 8 * * *").stdout)
    assert (edited["cron"], edited["timezone"]) == ("5 8 * * *", "Europe/Berlin")
    assert node.run("cron", "rm", task).returncode == 0


def test_administration_beside_a_running_server(node: Node) -> None:
    """A token made on the server's machine is good for its workspace, at the address."""
    made = node.run("token", "create", "ci", "-w", "team", "--role", "write", "--json")
    token = json.loads(made.stdout)
    assert token["workspace"] == "team"
    url = json.loads((node.data / "server.json").read_text())["url"]
    with Client(url, token["token"]) as client:
        assert client.me().workspace == "team"
        with pytest.raises(errors.NotAllowed):
            client.create_token("more", "admin")


def test_a_refused_token_of_the_environment_is_named(node: Node) -> None:
    """It goes before a data directory, which one may not think of."""
    made = node.run("token", "create", "reader", "--role", "read", "--json")
    token = json.loads(made.stdout)["token"]
    data = ("--data", str(node.data))
    for given in (token, "unknown"):
        node.environment["TASKYARD_TOKEN"] = given
        try:
            refused = node.run("submit", *data, "--", "true")
        finally:
            del node.environment["TASKYARD_TOKEN"]
        assert refused.returncode == 77, refused.stderr
        assert b"The token came from TASKYARD_TOKEN; unset it to act as the" in refused.stderr
    refused = node.run("submit", *data, "--token", token, "--", "true")
    assert refused.returncode == 77
    assert b"TASKYARD_TOKEN; unset" not in refused.stderr


def test_second_server_is_refused(node: Node) -> None:
    """A second server on the same data directory says who is there."""
    done = node.run("up", "--data", str(node.data), "--port", "0")
    assert done.returncode == 75
    assert b"in use" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["submit", "--cron", "x", "true"], "--cron: a cron expression has five fields"),
        (["cron", "add", "x", "--", "true"], "RULE: a cron expression has five fields"),
        (["submit", "--priority", "1000", "true"], "--priority: must be at most 100"),
        (
            ["submit", "-e", "1=x", "true"],
            "--env: has an invalid name: it must be letters",
        ),
        (["submit", "--webhook", "ftp://x", "true"], "--webhook: must be a URL that begins with"),
        (["submit", "--retries", "9999", "true"], "--retries: must be at most 1000"),
        (["submit", "--memory", "1", "true"], "--memory: must be from 4 MiB to 64 TiB"),
        (["group", "limit", "g", "0"], "the limit: must be at least 1"),
    ],
)
def test_refusals_name_what_was_typed(node: Node, arguments: list[str], told: str) -> None:
    """Flags, and not members of the API."""
    done = node.run(*arguments)
    assert (done.returncode, done.stdout) == (65, b"")
    assert done.stderr.decode().startswith(f"taskyard: {told}")


def test_the_first_example_of_the_readme_works(node: Node) -> None:
    """As it stands there, in a directory without anything of a project."""
    readme = Path(__file__).parents[2] / "README.md"
    block = readme.read_text("utf-8").partition("```console\n")[2].partition("```")[0]
    steps = [step.splitlines() for step in block.removeprefix("$ ").split("\n$ ")]
    runs = [(line, output) for line, *output in steps if line.startswith("taskyard run ")]
    assert runs
    for line, output in runs:
        done = node.run(*shlex.split(line)[1:])
        assert (done.returncode, done.stdout.decode().splitlines()) == (0, output)


def test_a_directory_may_be_relative(node: Node) -> None:
    """To where one is, which the server does not know."""
    task = json.loads(node.run("submit", "--cwd", "open", "--in", "1h", "pwd").stdout)
    assert task["cwd"] == f"{node.data}/open"
    task = json.loads(node.run("submit", "--cwd", "./open/..", "--in", "1h", "pwd").stdout)
    assert task["cwd"] == str(node.data)
    volume = ("--image", "busybox", "--volume", "open:/data", "--volume", "/srv:/srv:rw")
    task = json.loads(node.run("submit", *volume, "--in", "1h").stdout)
    assert [one["host"] for one in task["container"]["volumes"]] == [f"{node.data}/open", "/srv"]


def test_a_second_server_on_a_directory_says_so(node: Node) -> None:
    """At the same address and at another one; which server has it, and what to do."""
    assert node.process is not None
    port = json.loads((node.data / "server.json").read_text())["url"].rpartition(":")[2]
    for number in (port, "0"):
        done = node.run("up", "--data", str(node.data), "--port", number)
        assert done.returncode == 75
        assert f"process {node.process.pid}".encode() in done.stderr
        assert b"another --data" in done.stderr


def test_jobs_that_wait_are_listed_and_cancelled(node: Node) -> None:
    """Those of fastlane, which are no tasks until they start."""
    url = json.loads((node.data / "server.json").read_text())["url"]
    body = {"image": "busybox", "command": "echo later", "startIn": "1h"}
    made = httpx2.post(f"{url}/fastlane/tasks/mail", json=body, trust_env=False)
    assert made.status_code == 200, made.text
    (job,) = json.loads(node.run("cron", "jobs").stdout)
    assert (job["id"], job["group"], job["cron"]) == (made.json()["jobId"], "mail", None)
    assert node.run("cron", "cancel-job", job["id"]).returncode == 2
    assert node.run("cron", "cancel-job", job["id"], "-g", "other").returncode == 66
    assert node.run("cron", "cancel-job", job["id"], "-g", "mail").returncode == 0
    assert json.loads(node.run("cron", "jobs").stdout) == []
