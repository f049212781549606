"""The synchronous client against a real server."""

import base64
import socket
from itertools import islice
from pathlib import Path

import httpx2
import pytest

from taskyard.sdk import Client, errors
from taskyard.sdk.client_models import Gap, Output
from taskyard.sdk.models import Change, Exit


def gather(client: Client, task_id: str) -> tuple[dict[str, bytes], list[Exit]]:
    """All bytes of each stream, and the exit records."""
    streams = {"stdout": b"", "stderr": b""}
    exits: list[Exit] = []
    for record in client.follow_task(task_id):
        if isinstance(record, Output):
            streams[record.stream] += record.data
        else:
            exits.append(record)
    return streams, exits


def test_submits_and_waits(client: Client) -> None:
    """A submitted command comes back as a typed task, ended, with its exit code."""
    task = client.submit(["sh", "-c", "exit 3"], group="sdk", labels={"a": "b"})
    assert (task.group, task.labels) == ("sdk", {"a": "b"})
    ended = client.wait(task.id, 20)
    assert (ended.state, ended.exit_code, ended.ended) == ("failed", 3, True)
    assert client.attempts(task.id)[0].reason == "exit_code"
    assert client.why(task.id).story == ("attempt 1 ran",)
    assert [event.kind for event in client.events(task.id)] == ["submitted"]
    assert client.counts()["failed"] >= 1


def test_submit_has_a_key_of_its_own(client: Client) -> None:
    """Every submit carries an idempotency key, and a given one is kept."""
    assert (client.submit("true").idempotency_key or "").startswith("sdk-")
    first = client.submit("true", idempotency_key="mine")
    assert client.submit("true", idempotency_key="mine").id == first.id


def test_lists_page_after_page(client: Client) -> None:
    """The iterator crosses pages without losing or repeating a task."""
    ids = [each.id for each in client.submit_many([{"command": "true", "group": "pg"}] * 7)]
    found = [task.id for task in client.list(group="pg", limit=3)]
    assert found == ids[::-1]


@pytest.mark.parametrize("cuts", [[], [0, 5000, 9000]])
def test_follow_survives_cuts(client: Client, url: str, cuts: list[int]) -> None:
    """Every byte is seen once, also when the connection is cut again and again."""
    httpx2.post(f"{url}/faults", json={"cut_follow_bytes": list(cuts)}).raise_for_status()
    script = "printf 'a\\377b'; for i in $(seq 4000); do echo line $i; done; echo err >&2; exit 4"
    task = client.submit(script)
    streams, exits = gather(client, task.id)
    expected = b"a\xffb" + b"".join(b"line %d\n" % i for i in range(1, 4001))
    assert streams == {"stdout": expected, "stderr": b"err\n"}
    assert [(each.exit_code, each.stdout) for each in exits] == [(4, len(expected))]


def test_follows_every_attempt(client: Client) -> None:
    """A retried task is followed to its last attempt."""
    task = client.submit("echo hi; exit 1", retry={"max_attempts": 3})
    streams, exits = gather(client, task.id)
    assert streams["stdout"] == b"hi\n" * 3
    assert [(each.attempt, each.task_state) for each in exits] == [
        (1, "retrying"),
        (2, "retrying"),
        (3, "dead"),
    ]


def test_follow_ends_when_nothing_ever_ran(client: Client) -> None:
    """A task that is cancelled while it waits ends its followers."""
    task = client.submit("true", start_in_s=3600)
    assert client.cancel(task.id).outcome == "cancelled"
    assert list(client.follow(task.id)) == []


def test_follow_from_an_offset(client: Client) -> None:
    """A follower begins where it is told to, and leaves a stream out."""
    task = client.submit("printf 0123456789; echo no >&2")
    client.wait(task.id, 20)
    records = list(client.follow(task.id, stdout=6, stderr=-1))
    assert [each.data for each in records if isinstance(each, Output)] == [b"6789"]


def test_reads_logs_by_offset(client: Client) -> None:
    """Stored bytes are read from any offset, to the end."""
    task = client.submit("printf 0123456789abcdefghij")
    client.wait(task.id, 20)
    assert client.logs(task.id, offset=4) == b"456789a"
    assert b"".join(client.log_chunks(task.id, offset=2)) == b"23456789abcdefghij"


def test_changes_and_gaps(client: Client) -> None:
    """Live changes come as records, and so does what was missed."""
    with_gap = list(islice(client.changes(), 2))
    assert isinstance(with_gap[0], Change)
    assert with_gap[1] == Gap(12)


def test_errors_are_named(client: Client, url: str) -> None:
    """Each condition has its class, with the data of the problem document."""
    with pytest.raises(errors.NotFound) as missing:
        client.get("nope")
    assert (missing.value.status, missing.value.condition) == (404, "not-found")
    with pytest.raises(errors.InvalidRequest) as invalid:
        client.submit([])
    assert invalid.value.errors == (errors.FieldProblem("command", "is required"),)
    task = client.submit("sleep 30")
    with pytest.raises(errors.Conflict):
        client.delete(task.id)
    client.cancel(task.id)
    with Client(url, "wrong") as stranger, pytest.raises(errors.NotAuthenticated):
        stranger.me()


def test_repeats_what_can_be_repeated(client: Client, url: str) -> None:
    """A server that is stopping is asked again; an overloaded one is left to the caller."""
    httpx2.post(f"{url}/faults", json={"refuse": [503, 503]}).raise_for_status()
    assert client.me().workspace == "default"
    httpx2.post(f"{url}/faults", json={"refuse": [429]}).raise_for_status()
    with pytest.raises(errors.Overloaded) as overloaded:
        client.me()
    assert overloaded.value.retry_after_s == 0.05


def test_unreachable() -> None:
    """Where nobody listens, the error says where and what the network said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with Client(url, "dev", retries=1) as client, pytest.raises(errors.Unreachable) as error:
        client.me()
    assert error.value.url == url


def test_not_a_taskyard(url: str) -> None:
    """An answer that is not of the contract is no answer."""
    with Client(f"{url}/faults", "dev") as client, pytest.raises(errors.TaskyardError):
        client.me()


def test_unix_socket_and_workspace(data: Path) -> None:
    """At the control socket a workspace is chosen by header, without a credential."""
    with Client(f"unix:{data}/control.sock", workspace="other") as client:
        assert client.me().workspace == "other"


def test_basic_authentication(url: str) -> None:
    """A user's name and password are sent as Basic authentication."""
    with Client(url, user="admin", password="secret") as client:
        assert client.version().version == "9.9.9"
        assert client.health() == {"live": True, "ready": True}
    with pytest.raises(ValueError, match="not both"):
        Client(url, "dev", "admin")
    assert base64.b64encode(b"admin:secret") == b"YWRtaW46c2VjcmV0"


def test_the_rest_of_the_surface(client: Client) -> None:
    """Groups, workers, tokens, users and secrets come back typed."""
    assert client.pause("calm").paused
    assert client.set_group_limit("calm", 3).concurrency_limit == 3
    assert not client.resume("calm").paused
    assert client.set_group_limit("calm", None).concurrency_limit is None
    assert "calm" in [each.name for each in client.groups()]
    assert client.workers()[0].capacity.slots == 4
    assert client.workers()[0].unavailable["container"].reason == "gone"
    cluster = client.cluster()
    assert (cluster.leader, cluster.term, cluster.planes[1].state) == ("p1", 3, "silent")
    assert (client.parked()[0].kind, client.parked()[0].id) == ("task", "t1")
    scaling = client.scaling("a b", 4, "gpu")
    assert (scaling.group, scaling.wanted, scaling.tags[0].tag) == ("a b", 5, "gpu")
    assert client.drain("e 1").state == "draining"
    assert client.undrain("w1").state == "ready"
    token = client.create_token("ci", "write", 60)
    assert token.token is not None
    assert [each.token for each in client.tokens()] == [None]
    client.revoke_token(token.id)
    with pytest.raises(errors.NotFound):
        client.revoke_token(token.id)
    assert client.add_user("ann", "pass", "read").role == "read"
    assert [each.name for each in client.users()] == ["ann"]
    client.set_secret("db", "x")
    assert client.secrets() == ("db",)
    assert list(client.deliveries()) == []
    assert next(client.audit()).action == "task.submit"
