"""Submitting a task once more from its page: whatever was submitted is submitted again."""

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from fake_world import Json

from taskyard.dialects.native.schemas_submit import SubmittedTask

if TYPE_CHECKING:
    from conftest import Site, Visit

# The group of the other tests in a browser: Playwright keeps a loop going that none can share.
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(60),
    pytest.mark.xdist_group("browser"),
]
LEFT_OUT: Final = {"idempotency_key", "start_at", "start_in_s", "expires_at"}
"""Another task has its own."""
FULL: Final[Json] = {
    "command": ["sh", "-c", "echo $A; echo b"],
    "env": {
        "A": "plain",
        "LINES": "one\ntwo",
        "STORED": {"secret": "db-password"},
        "LITERAL": "@secret:no reference",
    },
    "cwd": "/srv/a b",
    "stdin": "first\nsecond\n",
    "user": "nobody",
    "isolate": True,
    "network": False,
    "strict": True,
    "group": "reports",
    "name": "a name",
    "priority": -3,
    "resources": {"memory": 536_870_912, "pids": 7, "cores": 2},
    "placement": {"type": "match_tag", "tag": "gpu"},
    "timeout_s": 12.5,
    "kill": {"signal": "SIGINT", "grace_s": 3.5},
    "retry": {
        "max_attempts": 4,
        "backoff_min_s": 2.0,
        "backoff_max_s": 30.0,
        "factor": 1.5,
        "jitter": 0.2,
    },
    "cron": "0 8 * * *",
    "timezone": "Europe/Berlin",
    "catch_up": "all",
    "rerun_if_lost": False,
    "log_limit": 1_048_576,
    "labels": {"team": "a", "x/y": "b c"},
    "metadata": {"nested": {"list": [1, None, "x"]}},
    "webhooks": [
        {"url": "https://a.example/1", "events": ["finished"], "headers": {"X-A": "b"}},
        {"url": "https://a.example/2", "events": ["started", "finished"], "headers": {}},
    ],
}
CONTAINER: Final[Json] = {
    "image": "registry.example/app:1",
    "container": {
        "entrypoint": ["/bin/app", "--flag"],
        "pull": "always",
        "pull_timeout_s": 60.0,
        "credentials": "registry",
        "network": "backend",
        "volumes": [{"host": "/srv/a", "container": "/a", "read_only": True}],
        "hosts": {"db": "10.0.0.7"},
        "read_only": False,
        "capabilities": ["NET_BIND_SERVICE"],
    },
}


def submitted_again(visit: "Visit", site: "Site", **members: Any) -> Json:
    """What is submitted when a task with these members is copied and nothing is changed."""
    from playwright.sync_api import expect  # noqa: PLC0415 - only browser tests need it

    again = {**FULL, **members}
    task = site.world.add("succeeded", again.pop("command"), 60, **again)
    page = visit.open(f"#/tasks/{task['id']}")
    page.get_by_role("link", name="Submit another").click()
    page.get_by_role("heading", name="Submit a task").wait_for()
    # By a locator: a function that is waited for is evaluated in the page, whose policy forbids it.
    expect(page.locator("input[name=name]")).not_to_have_value("")
    page.get_by_role("button", name="Submit", exact=True).click()
    page.get_by_text("The task is submitted").wait_for()
    return site.world.submitted[-1]


def as_meant(body: Json) -> Json:
    """What the API makes of a body: sizes in bytes, members that were not given left out."""
    task = msgspec.convert(body, SubmittedTask)
    built: Json = msgspec.to_builtins(task)
    if isinstance(built["log_limit"], str):
        built["log_limit"] = int(built["log_limit"].removesuffix("B"))
    memory = (built["resources"] or {}).get("memory")
    if isinstance(memory, str):
        built["resources"]["memory"] = int(memory.removesuffix("B"))
    return built


def test_every_member_of_a_command_comes_along(visit: "Visit", site: "Site") -> None:
    """Those with a field of their own, and those without."""
    made = as_meant(submitted_again(visit, site))
    assert made == as_meant(FULL)


def test_every_member_of_a_container_comes_along(visit: "Visit", site: "Site") -> None:
    """Above all the image: its copy must not run on the host."""
    members = {**CONTAINER, "runtime": "container", "isolate": False, "network": True}
    made = as_meant(submitted_again(visit, site, **members))
    wanted = as_meant({**FULL, **CONTAINER, "isolate": False, "network": True})
    assert made == wanted


@pytest.mark.parametrize(
    "command",
    [
        "echo one; echo two\necho three",
        ["printf", "two\nlines", ""],
        ["echo", "secret:x", '"quoted"  spaces'],
    ],
)
def test_commands_come_along_as_they_are(
    visit: "Visit", site: "Site", command: str | list[str]
) -> None:
    """Lines of a shell, and arguments that are no single line."""
    assert submitted_again(visit, site, command=command)["command"] == command


def test_no_member_of_the_api_is_forgotten() -> None:
    """A member that is added to the API has to be added to these tests, and to the form."""
    every = {field.name for field in msgspec.structs.fields(SubmittedTask)}
    assert {*FULL, *CONTAINER, *LEFT_OUT} == every


def test_other_runtimes_are_not_copied(visit: "Visit", site: "Site") -> None:
    """A call of a function is no command: there is no such button."""
    task = site.world.add("succeeded", "", 60, runtime="function", name="call")
    visit.expected = ("413",)  # what the call answered, shown on its page
    page = visit.open(f"#/tasks/{task['id']}")
    page.get_by_role("button", name="Delete").wait_for()
    assert page.get_by_role("link", name="Submit another").count() == 0


def test_hidden_values_are_asked_for(visit: "Visit", site: "Site") -> None:
    """What the server does not show cannot come along, which is said."""
    task = site.world.add("succeeded", "true", 60, env={"TOKEN": "***"})
    page = visit.open(f"#/submit?from={task['id']}")
    page.get_by_text("Hidden values (***) have to be entered again").wait_for()


def test_further_members_have_to_be_an_object(visit: "Visit") -> None:
    """Said at the field, before anything is sent."""
    page = visit.open("#/submit")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Command", exact=True).fill("true")
    for text, problem in (("{", "is not JSON"), ("[1]", "has to be a JSON object")):
        page.get_by_label("Further members (JSON object)").fill(text)
        page.get_by_role("button", name="Submit", exact=True).click()
        page.get_by_text(problem).wait_for()
