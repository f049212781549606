"""What is hidden when settings are shown."""

from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.redaction import redact_env, redact_headers, redact_task
from taskyard.core.states import TaskState
from taskyard.core.tasks import Command, SecretRef, Task, TaskSpec, Webhook, environment_of


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
