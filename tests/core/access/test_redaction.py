"""What is hidden when settings are shown."""

from typing import Any

import msgspec
import pytest

from taskyard.core.access.redaction import (
    masked_member,
    redact_attempt,
    redact_env,
    redact_headers,
    redact_task,
)
from taskyard.core.attempts import Attempt, KillReport, Survivor
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, TaskId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import (
    Command,
    Container,
    SecretRef,
    Task,
    TaskSpec,
    Webhook,
    environment_of,
)
from taskyard.services.tasks.validation import check_spec


def test_values_of_secret_looking_names_are_hidden() -> None:
    """In any case and anywhere in the name; references to secrets stay visible."""
    env: dict[str, str | SecretRef] = {
        "DB_PASSWORD": "x",
        "passwdFile": "x",
        "ApiToken": "x",
        "AWS_SECRET_ACCESS": "x",
        "SSH_KEY": "x",
        "GOOGLE_CREDENTIALS": "x",
        "OAUTH": "x",
        "CLIENT_ID": "x",
        "REFERENCE_TOKEN": SecretRef("name"),
        "PATH": "/bin",
        "HOME": "/",
    }
    shown = redact_env(env)
    assert {name for name, value in shown.items() if value == "***"} == {
        "DB_PASSWORD",
        "passwdFile",
        "ApiToken",
        "AWS_SECRET_ACCESS",
        "SSH_KEY",
        "GOOGLE_CREDENTIALS",
        "OAUTH",
        "CLIENT_ID",
    }
    assert shown["REFERENCE_TOKEN"] == SecretRef("name")
    assert shown["PATH"] == "/bin"


def test_the_words_can_be_chosen() -> None:
    """Chosen words take the place of the usual ones."""
    assert redact_env({"PIN": "1", "TOKEN": "2"}, ["pin"]) == {"PIN": "***", "TOKEN": "2"}


def test_headers_with_credentials_are_hidden() -> None:
    """Authorization, cookies, tokens, keys and signatures."""
    hidden = ("Authorization", "cookie", "X-Auth-Token", "X-Api-Key", "Client-Id", "X-Signature")
    shown = redact_headers({**dict.fromkeys(hidden, "x"), "X-App": "1"})
    assert shown == {**dict.fromkeys(hidden, "***"), "X-App": "1"}


def test_a_task_is_shown_without_its_credentials() -> None:
    """Environment and webhook headers; everything else stays, and the task itself too."""
    spec = TaskSpec(
        work=Command(argv=("true",), env={"TOKEN": "x", "A": "b"}),
        webhooks=(Webhook("http://x.example", headers={"Authorization": "x", "X-App": "1"}),),
    )
    task = Task(1, TaskId("t"), WorkspaceName("w"), spec, TaskState.QUEUED, Instant(0))
    shown = redact_task(task).spec
    assert environment_of(shown.work) == {"TOKEN": "***", "A": "b"}
    assert shown.webhooks[0].headers == {"Authorization": "***", "X-App": "1"}
    assert isinstance(shown.work, Command)
    assert shown.work.argv == ("true",)
    assert environment_of(task.spec.work)["TOKEN"] == "x"


def test_a_task_is_shown_without_secrets_wherever_they_stand() -> None:
    """Arguments, standard input, name, labels, metadata, targets, messages; nothing is changed."""
    task = secretive()
    assert b"MARK" in msgspec.json.encode(task)
    shown = redact_task(task)
    assert b"MARK" not in msgspec.json.encode(shown)
    assert isinstance(shown.spec.work, Command)
    assert shown.spec.work.argv == ("mysql", "--password=***", "db")
    assert shown.spec.work.stdin == "***"
    assert shown.spec.labels == {"team": "a", "api_token": "***"}
    assert shown.spec.metadata == {
        "password": "***",
        "deep": [{"drove": {"env": {"KEYCODE": "***", "PLAIN": "1"}}}],
        "vars": [{"name": "DB_PASSWORD", "value": "***"}, {"name": "A", "value": "b"}],
        "argv": ["x", "--token", "***"],
        "max_tokens": 5,
        "secret": None,
        "author": "bob",
    }


def test_a_container_is_shown_without_secrets() -> None:
    """Arguments and entry point."""
    work = Container(
        "busybox", args=("--token", "MARK"), entrypoint=("run", "TOKEN=MARK"), stdin="MARK"
    )
    task = msgspec.structs.replace(secretive(), spec=TaskSpec(work))
    assert b"MARK" not in msgspec.json.encode(redact_task(task))


def test_an_attempt_is_shown_without_secrets() -> None:
    """Messages, progress, and command lines of processes that outlived a kill."""
    attempt = Attempt(
        id=AttemptId("a"),
        task_id=TaskId("t"),
        workspace=WorkspaceName("w"),
        number=1,
        worker_id=WorkerId("w"),
        incarnation=IncarnationId("i"),
        lease_token=LeaseToken("l"),
        lease_expires_at=Instant(0),
        resources=Resources(),
        state=AttemptState.FAILED,
        assigned_at=Instant(0),
        message="cannot start mysql --password=MARK",
        progress_text="fetching https://u:MARK@h/",
        kill_report=KillReport(
            Instant(0), Instant(1), survivors=(Survivor(7, "mysql --password=MARK db"),)
        ),
    )
    shown = redact_attempt(attempt)
    assert b"MARK" not in msgspec.json.encode(shown)
    assert shown.kill_report is not None
    assert shown.kill_report.survivors == (Survivor(7, "mysql --password=*** db"),)


MASKED = [
    ({"work": Command(("x",), env={"PIN": "***"})}, "env.PIN"),
    ({"work": Command(("x",), env={"URL": "http://u:***@h"})}, "env.URL"),
    ({"work": Command(("x", "--token", "***"))}, "command"),
    ({"work": Command(shell="curl -u a:***")}, "command"),  # noqa: S604 - a record
    ({"work": Command(("x",), stdin="***")}, "stdin"),
    ({"work": Container("i", args=("--token=***",))}, "command"),
    ({"labels": {"api_token": "***"}}, "labels.api_token"),
    ({"metadata": {"a": [{"password": "***"}]}}, "metadata.a.0.password"),
    ({"metadata": {"drove": {"env": {"KEYCODE": "***"}}}}, "metadata.drove.env.KEYCODE"),
    ({"metadata": {"v": [{"name": "TOKEN", "value": "***"}]}}, "metadata.v.0.value"),
    ({"webhooks": (Webhook("http://h/***"),)}, "webhooks.0.url"),
    (
        {"webhooks": (Webhook("http://h/", headers={"Authorization": "***"}),)},
        "webhooks.0.headers.Authorization",
    ),
]


@pytest.mark.parametrize(("members", "path"), MASKED)
def test_a_mask_that_comes_back_is_found(members: dict[str, Any], path: str) -> None:
    """Wherever one would have been shown."""
    spec = msgspec.structs.replace(TaskSpec(Command(("x",))), **members)
    assert masked_member(spec) == path
    with pytest.raises(InvalidInput, match="the placeholder of a hidden value") as error:
        check_spec(spec)
    assert error.value.field == path


def test_what_was_shown_cannot_be_submitted() -> None:
    """And what was given can; stars that mean something else can, too."""
    task = secretive()
    assert masked_member(task.spec) is None
    assert masked_member(redact_task(task).spec) is not None
    plain = TaskSpec(
        Command(("echo", "***", "a/***"), env={"GLOB": "a/***"}),
        labels={"stars": "***"},
        metadata={"stars": "***", "all": ["***"]},
    )
    assert masked_member(plain) is None


def secretive() -> Task:
    """A task with a secret in every place that has room for one."""
    spec = TaskSpec(
        work=Command(
            argv=("mysql", "--password=MARK", "db"),
            env={"TOKEN": "MARK", "DATABASE_URL": "postgres://u:MARK@h/db"},
            stdin="MARK",
        ),
        name="mysql --password=MARK",
        labels={"team": "a", "api_token": "MARK"},
        metadata={
            "password": "MARK",
            "deep": [{"drove": {"env": {"KEYCODE": "MARK", "PLAIN": "1"}}}],
            "vars": [{"name": "DB_PASSWORD", "value": "MARK"}, {"name": "A", "value": "b"}],
            "argv": ["x", "--token", "MARK"],
            "max_tokens": 5,
            "secret": None,
            "author": "bob",
        },
        webhooks=(Webhook("http://x.example/?token=MARK", headers={"X-Key": "MARK"}),),
    )
    return Task(
        *(1, TaskId("t"), WorkspaceName("w"), spec, TaskState.QUEUED, Instant(0)),
        message="cannot find --token MARK",
    )
