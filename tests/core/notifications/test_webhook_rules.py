"""Which moments are reported, how a message looks, how it is signed, when it is tried again."""

import base64
import hashlib
import hmac
import json

import pytest
from msgspec.structs import replace

from taskyard.core.attempts import Attempt, KillReport, Survivor, Usage
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import (
    AttemptId,
    IncarnationId,
    LeaseToken,
    TaskId,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import SECOND, Instant
from taskyard.core.notifications.webhook_payload import PAYLOAD_LIMIT, payload
from taskyard.core.notifications.webhooks import (
    check_webhook,
    delivery_id,
    events_of_kind,
    host_of,
    key_text,
    next_try,
    signed_headers,
)
from taskyard.core.resources import Resources
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import Command, SecretRef, Task, TaskSpec, Webhook, WebhookEvent

NOW = Instant(1_700_000_000_123_456)
SPEC = TaskSpec(
    work=Command(
        argv=("make", "report"),
        env={"A": "b", "TOKEN": "hidden!", "DB": SecretRef("db")},
        stdin="private input",
    ),
    resources=Resources(cpu_millis=500, memory_bytes=1024),
    webhooks=(Webhook("https://hooks.example/private-path"),),
    metadata={"any": [1]},
)
TASK = Task(
    seq=1,
    id=TaskId("task"),
    workspace=WorkspaceName("w"),
    spec=SPEC,
    state=TaskState.CANCELLED,
    created_at=NOW,
    attempt_count=1,
    finished_at=NOW,
    reason=Reason.KILLED,
)
ATTEMPT = Attempt(
    id=AttemptId("attempt"),
    task_id=TASK.id,
    workspace=TASK.workspace,
    number=1,
    worker_id=WorkerId("w1"),
    incarnation=IncarnationId("i"),
    lease_token=LeaseToken("lease-token"),
    lease_expires_at=NOW,
    resources=SPEC.resources,
    state=AttemptState.KILLED,
    assigned_at=NOW,
    started_at=NOW,
    finished_at=NOW,
    signal="SIGKILL",
    reason=Reason.KILLED,
    kill_report=KillReport(NOW, NOW, "SIGTERM", survivors=(Survivor(7, "sleep"),)),
    usage=Usage(0.5, 0.25, 1024),
    handle={"pid": 7},
)


@pytest.mark.parametrize(
    ("kind", "events"),
    [
        ("started", ["started"]),
        ("succeeded", ["succeeded", "finished"]),
        ("failed", ["failed", "finished"]),
        ("dead", ["failed", "finished"]),
        ("cancelled", ["finished"]),
        ("expired", ["finished"]),
        ("retrying", []),
        ("deleted", []),
        ("refused", []),
        ("submitted", []),
    ],
)
def test_changes_give_rise_to_events(kind: str, events: list[str]) -> None:
    """One table from kinds of change to moments; most are none."""
    assert list(events_of_kind(kind)) == events


def test_the_payload_shows_task_and_attempt_without_credentials() -> None:
    """As the native API shows them; no lease, no handle, no input, no receivers."""
    body = payload(TASK, ATTEMPT, WebhookEvent.FINISHED, NOW)
    for private in (b"hidden!", b"lease-token", b"private input", b"private-path", b'"pid":7,"s'):
        assert private not in body
    message = json.loads(body)
    assert (message["type"], message["timestamp"]) == (
        "task.finished",
        "2023-11-14T22:13:20.123456Z",
    )
    task, attempt = message["data"]["task"], message["data"]["attempt"]
    assert task["command"] == ["make", "report"]
    assert task["env"] == {"A": "b", "TOKEN": "***", "DB": {"secret": "db"}}
    assert task["resources"] == {"cpu": 0.5, "memory": 1024, "pids": None}
    assert (task["state"], task["reason"], task["start_at"]) == ("cancelled", "killed", None)
    assert attempt["kill_report"]["survivors"] == [{"pid": 7, "command": "sleep"}]
    assert attempt["kill_report"]["done_at"] == message["timestamp"]
    assert attempt["usage"]["memory_peak_bytes"] == 1024
    assert attempt["stdout"] == {"stored_bytes": 0, "dropped_bytes": 0}


def test_a_payload_without_an_attempt_says_so() -> None:
    """A task that was cancelled while it waited never had one."""
    message = json.loads(payload(TASK, None, WebhookEvent.FINISHED, NOW))
    assert message["data"]["attempt"] is None
    assert message["data"]["task"]["exit_code"] is None


def test_a_huge_payload_is_cut() -> None:
    """What users can make large is left out, and that is said."""
    work = Command(argv=("x" * PAYLOAD_LIMIT,))
    huge = replace(TASK, spec=replace(SPEC, work=work))
    body = payload(huge, ATTEMPT, WebhookEvent.FINISHED, NOW)
    assert len(body) < 8192
    task = json.loads(body)["data"]["task"]
    assert task["truncated"] is True
    assert task["id"] == "task"
    assert "command" not in task


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The published example of the specification's libraries comes out."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = signed_headers(
        key, "msg_p5jXN8AQM9LWM0D4loKWxJek", Instant(1614265330 * SECOND), body
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert key_text(key) == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signed = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_retries_wait_longer_and_end() -> None:
    """5 s, 30 s, 2 min, 10 min, 1 h, 6 h, 24 h, then never."""
    delays = [next_try(n, Instant(0)) for n in range(1, 9)]
    assert [None if d is None else d // SECOND for d in delays] == [
        5,
        30,
        120,
        600,
        3600,
        21600,
        86400,
        None,
    ]


def test_a_message_id_stands_for_one_moment_and_one_webhook() -> None:
    """The same again, another for anything else."""
    attempt = AttemptId("a")
    ids = {
        delivery_id(TaskId("t"), WebhookEvent.STARTED, attempt, 0),
        delivery_id(TaskId("t"), WebhookEvent.STARTED, attempt, 1),
        delivery_id(TaskId("t"), WebhookEvent.STARTED, AttemptId("b"), 0),
        delivery_id(TaskId("t"), WebhookEvent.FINISHED, None, 0),
        delivery_id(TaskId("u"), WebhookEvent.FINISHED, None, 0),
    }
    assert len(ids) == 5
    assert delivery_id(TaskId("t"), WebhookEvent.STARTED, attempt, 0) in ids
    assert all(one.startswith("msg_") and len(one) == 30 for one in ids)


@pytest.mark.parametrize(
    "url",
    [
        "http://x.example",
        "HTTPS://X.example:8443/path?q=1#part",
        "http://[2001:db8::1]:80/",
        "http://127.0.0.1:9/x",
        "https://xn--bcher-kva.example/%C3%A4",
    ],
)
def test_urls_that_can_be_sent_to(url: str) -> None:
    """Absolute http and https ones; addresses are judged elsewhere."""
    check_webhook(Webhook(url), "webhooks.0")
    assert host_of(url) == host_of(url).lower() != ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x.example",
        "//x.example/",
        "ftp://x.example",
        "file:///etc/passwd",
        "gopher://x.example",
        "http://",
        "http:///path",
        "http://user@x.example",
        "http://user:pw@x.example",
        "http://@x.example",
        "http://x.example:0",
        "http://x.example:99999",
        "http://x.example:port",
        "http://[::1",
        "http://x.example/\r\nHost: y",
        "http://x.example/a b",
        "http://x.example\\@y.example",
        "http://bücher.example",
        "http://x.example/" + "a" * 2048,
        " http://x.example",
        "http://x.example\0",
    ],
)
def test_urls_that_cannot(url: str) -> None:
    """Refused at submit, naming the member."""
    with pytest.raises(InvalidInput) as refused:
        check_webhook(Webhook(url), "webhooks.3")
    assert refused.value.field == "webhooks.3.url"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "y"},
        {"content-length": "1"},
        {"Transfer-Encoding": "chunked"},
        {"Webhook-Signature": "v1,x"},
        {"Proxy-Authorization": "x"},
        {"": "x"},
        {"a b": "x"},
        {"a:b": "x"},
        {"a": "x\r\nb: c"},
        {"a": "x\0"},
        {"a": "ä"},
        {"a": "1", "A": "2"},
        {"a": "x" * 8192},
        {f"h{n}": "" for n in range(33)},
    ],
)
def test_headers_that_cannot_be_sent(headers: dict[str, str]) -> None:
    """Neither those that frame the request or sign it, nor those that would break it."""
    with pytest.raises(InvalidInput, match=r"webhooks\.0\.headers"):
        check_webhook(Webhook("http://x.example", headers=headers), "webhooks.0")


def test_a_webhook_without_events_is_refused() -> None:
    """It would never be sent."""
    with pytest.raises(InvalidInput, match=r"webhooks\.0\.events"):
        check_webhook(Webhook("http://x.example", events=()), "webhooks.0")
