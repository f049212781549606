"""What the pages show of tasks, and what they do in trouble, in a real browser."""

from typing import TYPE_CHECKING

import pytest
from test_browser import expect, named

if TYPE_CHECKING:
    from conftest import Site, Visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(60),
    pytest.mark.xdist_group("browser"),
]


@pytest.mark.parametrize(
    ("where", "asked", "there"),
    [
        ("groups", "groups", "tbody tr"),
        ("groups", "workspace", "text=Workspace default"),
        ("tasks", "tasks", "tbody tr"),
        ("schedules", "tasks", "tbody tr"),
        ("webhooks", "webhooks", ".cards li"),
        ("audit", "audit", "tbody tr"),
    ],
)
def test_a_page_recovers_from_an_outage(visit: "Visit", where: str, asked: str, there: str) -> None:
    """By itself: the end of an outage is no change that a page would be told of."""
    visit.expected = ("ERR_FAILED",)
    page = visit.open()
    expect(page.locator(".live")).to_have_text("Live")
    pattern = f"**/api/v1/{asked}*"
    page.route(pattern, lambda route: route.abort())
    page.route(f"{pattern}/*", lambda route: route.abort())
    page.evaluate(f"location.hash = '#/{where}'")
    expect(page.locator(".problem").first).to_contain_text("the server does not answer")
    page.unroute(pattern)
    page.unroute(f"{pattern}/*")
    expect(page.locator(there).first).to_be_visible()
    expect(page.locator(".problem")).to_have_count(0)


def test_an_unknown_task_looks_like_none(visit: "Visit") -> None:
    """Neither a state nor an output to wait for; it says what may have become of it."""
    visit.expected = ("404",)
    page = visit.open("#/tasks/no-such-task")
    expect(page.get_by_role("heading", name="Unknown task")).to_be_visible()
    expect(page.locator(".problem")).to_contain_text("It may have been deleted")
    expect(page.locator(".badge:visible")).to_have_count(0)
    for words in ("Output", "Definition", "History"):
        expect(page.get_by_role("heading", name=words)).to_be_hidden()


def test_a_notice_leaves_the_bar_for_selected_tasks_free(visit: "Visit") -> None:
    """Also on a narrow screen, where the bar is higher."""
    for width in (1280, 400):
        visit.page.set_viewport_size({"width": width, "height": 700})
        page = visit.open("#/tasks")
        page.locator("tbody input").first.check()
        page.evaluate("import('/assets/notice.js').then((m) => m.notice('Something is done'))")
        notice = page.locator(".notice").bounding_box()
        bar = page.locator(".bulk").bounding_box()
        assert notice is not None
        assert bar is not None
        assert notice["y"] + notice["height"] <= bar["y"]
        page.reload()


def test_a_task_shows_all_that_was_asked(visit: "Visit", site: "Site") -> None:
    """Whole cores and where they are, placement, webhooks, how its image is run."""
    task = site.world.add(
        "running",
        ["train"],
        60,
        name="training",
        image="trainer:1",
        resources={"cpu": None, "memory": None, "pids": None, "cores": 2},
        placement={"type": "match_tag", "tag": "gpu"},
        webhooks=[{"url": "https://app.example/hook", "events": ["failed"], "headers": {}}],
        container={
            "entrypoint": ["/run"], "pull": "always", "credentials": "registry", "network": "none",
            "volumes": [{"host": "/srv", "container": "/data", "read_only": True}],
            "hosts": {"db": "10.0.0.7"}, "read_only": True, "capabilities": ["SYS_NICE"],
        },
    )  # fmt: skip
    site.world.attempt(task, "running", 50, cores=[4, 5])
    page = visit.open(f"#/tasks/{task['id']}")
    about = page.locator(".definition")
    expect(about).to_contain_text("Whole cores2")
    expect(about).to_contain_text("match_tag(tag=gpu)")
    expect(about).to_contain_text("https://app.example/hook when failed")
    about.get_by_text("Container", exact=True).click()
    for words in ("/srv → /data read-only", "@secret:registry", "db: 10.0.0.7", "SYS_NICE"):
        expect(about).to_contain_text(words)
    expect(page.locator(".attempt")).to_contain_text("Cores4, 5")


def test_a_call_shows_its_request_and_its_answer(visit: "Visit", site: "Site") -> None:
    """As text, whatever they hold; an error of the function is its answer."""
    visit.expected = ("413",)
    task = site.world.add(
        "succeeded", [], 60, name="resize", runtime="function", function="resize",
        function_version=3,
    )  # fmt: skip
    site.world.attempt(task, "succeeded", 50)
    page = visit.open(f"#/tasks/{task['id']}")
    call = page.locator("section", has=page.get_by_role("heading", name="Call", exact=True))
    for words in ("width=80", "<b>photo</b>", "413", "<i>too large</i>"):
        expect(call.first).to_contain_text(words)
    expect(page.locator(".definition")).to_contain_text("resize, version 3")
    expect(page.locator("h1 + .badge")).to_have_text("succeeded")
    assert named(site.world, "resize")["id"] == task["id"]


def test_jobs_of_other_dialects_are_shown_and_cancelled(visit: "Visit", site: "Site") -> None:
    """With the schedules, as they are no tasks until they start."""
    site.world.jobs.append({
        "id": "0f0e0d0c-0000-4000-8000-000000000001", "group": "mail", "origin": "fastlane",
        "next_at": "2030-01-01T00:00:00.000000Z", "cron": None, "image": "mailer:2",
        "command": ["send", "all"], "execution_count": 0,
        "created_at": "2029-01-01T00:00:00.000000Z", "modified_at": "2029-01-01T00:00:00.000000Z",
    })  # fmt: skip
    page = visit.open("#/schedules")
    expect(page.get_by_text("[mailer:2] send all")).to_be_visible()
    page.get_by_role("button", name="Cancel job").click()
    page.get_by_role("button", name="Cancel it").click()
    expect(page.get_by_text("[mailer:2] send all")).to_have_count(0)
    assert site.world.jobs == []
