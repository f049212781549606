"""The dashboard in a real browser, against a fake of the native API.

Every test also fails on a script error, a violation of the page's policy, or a request to
anybody else; see ``Visit``.
"""

from typing import TYPE_CHECKING, Any

import pytest
from fake_world import Json, World

if TYPE_CHECKING:
    from conftest import Site, Visit

# A group of its own: while it runs, Playwright keeps a loop going that no other test can share.
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(60),
    pytest.mark.xdist_group("browser"),
]
LOADED = {
    "": ".worker", "tasks": "tbody tr", "submit": "form", "schedules": "tbody tr",
    "groups": "tbody tr", "webhooks": ".cards li", "access": "section:nth-of-type(3) td",
    "audit": "tbody tr",
}  # fmt: skip
"""Every page, and what is there once its data is."""


def named(world: World, name: str) -> Json:
    """The first task of this name."""
    return next(task for task in world.tasks.values() if task["name"] == name)


def expect(locator: Any) -> Any:
    """Playwright's waiting assertions; imported late, since it may be missing."""
    from playwright.sync_api import expect as waiting  # noqa: PLC0415

    waiting.set_options(timeout=15_000)
    return waiting(locator)


def test_a_dev_server_needs_no_sign_in(visit: "Visit", site: "Site") -> None:
    """The well-known token is used by itself only where the server says it is one of those."""
    site.world.dev = True
    page = visit.open(signed_in=False)
    expect(page.locator(".tile[data-state=succeeded] .figure")).to_have_text("71")
    expect(page.locator(".live")).to_have_text("Live")
    assert "token" not in page.url


def test_a_wrong_token_is_told_and_a_good_one_taken(visit: "Visit") -> None:
    """Signing in says what was wrong; signing out forgets the credential."""
    visit.expected = ("401",)
    page = visit.open(signed_in=False)
    page.get_by_label("Token", exact=True).fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("You are not signed in")
    page.get_by_label("Token", exact=True).fill("dev")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_label("Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_user_with_a_password_sees_changes_live(visit: "Visit", site: "Site") -> None:
    """Server-sent events replace the WebSocket; buttons that would be refused are not there."""
    page = visit.open(signed_in=False)
    page.get_by_role("button", name="User and password").click()
    page.get_by_label("User", exact=True).fill("guest")
    page.get_by_label("Password").fill("guest")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".live")).to_have_text("Live")
    task = named(site.world, "mail batch 12")
    site.do(lambda: site.world.move(task, "running", "assigned"))
    expect(page.locator(".tile[data-state=running] .figure")).to_have_text("2")
    assert page.get_by_role("link", name="Submit a task").count() == 0


def test_counts_and_rate_follow_the_changes(visit: "Visit", site: "Site") -> None:
    """A task that ends moves from one tile to the other and shows in the curve's peak."""
    page = visit.open()
    expect(page.locator(".live")).to_have_text("Live")
    expect(page.locator(".tile[data-state=succeeded] .figure")).to_have_text("71")
    task = named(site.world, "mail batch 12")
    site.do(lambda: site.world.move(task, "succeeded", "succeeded"))
    expect(page.locator(".tile[data-state=succeeded] .figure")).to_have_text("72")
    expect(page.locator(".tile[data-state=queued] .figure")).to_have_text("0")
    expect(page.locator(".rate")).to_contain_text("peak 1/s")


def test_the_list_filters_pages_and_follows(visit: "Visit", site: "Site") -> None:
    """Chips filter and stand in the address; pages go back and forth; rows change in place."""
    page = visit.open("#/tasks")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Older").click()
    expect(rows).to_have_count(30)
    page.get_by_role("button", name="Newer").click()
    expect(rows).to_have_count(50)
    page.locator(".chip", has_text="queued").click()
    expect(rows).to_have_count(1)
    assert page.url.endswith("#/tasks?state=queued")
    task = named(site.world, "mail batch 12")
    site.do(lambda: site.world.move(task, "running", "assigned"))
    expect(rows).to_have_count(0)
    expect(page.get_by_text("No task matches these filters.")).to_be_visible()


def test_what_was_missed_is_fetched(visit: "Visit", site: "Site") -> None:
    """After a gap in the stream the list is fetched again."""
    page = visit.open("#/tasks")
    expect(page.locator("tbody tr")).to_have_count(50)
    expect(page.locator(".live")).to_have_text("Live")

    def unheard() -> None:
        site.world.add("queued", "true", 0, name="never announced")
        site.world.tell({"type": "gap", "missed": 12})

    site.do(unheard)
    expect(page.get_by_role("link", name="never announced")).to_be_visible()


def test_the_list_works_by_keyboard(visit: "Visit") -> None:
    """The keys j and k move, x selects, Enter opens, g t comes back."""
    page = visit.open("#/tasks")
    expect(page.locator("tbody tr")).to_have_count(50)
    for key in "jjjkx":
        page.keyboard.press(key)
    expect(page.get_by_text("1 task selected")).to_be_visible()
    expect(page.locator("tbody tr").nth(1).locator("input")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="flaky check")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("t")
    expect(page.locator("tbody tr")).to_have_count(50)


def test_many_tasks_are_cancelled_at_once(visit: "Visit", site: "Site") -> None:
    """Only those that can be are; the question says how many."""
    page = visit.open("#/tasks?state=queued&state=scheduled&state=dead")
    expect(page.locator("tbody tr")).to_have_count(4)
    page.get_by_label("Select all tasks on this page").check()
    page.locator(".bulk").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_contain_text("Cancel 3 tasks?")
    page.get_by_role("button", name="Cancel them").click()
    expect(page.get_by_text("3 tasks cancelled")).to_be_visible()
    assert named(site.world, "weekly report")["state"] == "cancelled"
    assert named(site.world, "price import")["state"] == "dead"


def test_output_is_followed_safely(visit: "Visit", site: "Site") -> None:
    """Colours are drawn, markup stays text, a rewritten line keeps its last form."""
    task = named(site.world, "monthly report")
    page = visit.open(f"#/tasks/{task['id']}")
    log = page.get_by_role("log")
    expect(log.locator(".fg-2")).to_have_text("✓ ok")
    expect(log).to_contain_text("<img src=x onerror=alert(1)>")
    assert log.locator("img").count() == 0
    texts = log.locator(".line").all_text_contents()
    assert "100%" in texts
    assert "10%" not in texts
    page.get_by_role("button", name="stderr", exact=True).first.click()
    expect(log.get_by_text("tick 1", exact=True)).to_be_hidden()
    expect(log.get_by_text("warning: clock skew detected")).to_be_visible()


def test_a_cut_connection_loses_and_repeats_nothing(visit: "Visit", site: "Site") -> None:
    """The log is followed on from the offset it was read to."""
    task = named(site.world, "monthly report")
    page = visit.open(f"#/tasks/{task['id']}")
    log = page.get_by_role("log")
    expect(log).to_contain_text("tick 5")
    before = site.world.log_connections

    def cut() -> None:
        site.world.log_epoch += 1

    site.do(cut)
    expect(page.locator(".logbar [role=status]")).to_have_text("following")
    last = int(log.locator(".stdout").last.inner_text().removeprefix("tick ")) + 8
    expect(log.get_by_text(f"tick {last}", exact=True)).to_be_attached()
    ticks = [text for text in log.locator(".stdout").all_text_contents() if "tick" in text]
    numbers = [int(text.removeprefix("tick ")) for text in ticks]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert site.world.log_connections > before


def test_broken_characters_are_shown_as_such(visit: "Visit", site: "Site") -> None:
    """Bytes that are no UTF-8 become U+FFFD; the exit is told under the output."""
    page = visit.open(f"#/tasks/{named(site.world, 'price import')['id']}")
    log = page.get_by_role("log")
    expect(log).to_contain_text("<b>no markup</b> \ufffd\ufffd here")
    expect(log).to_contain_text("attempt 3 exited with code 1 (failed)")
    expect(page.locator(".attempt")).to_have_count(3)
    expect(page.get_by_text("answered 503").first).to_be_visible()


def test_a_kill_shows_its_proof(visit: "Visit", site: "Site") -> None:
    """Signal and grace are asked for; the proof says that nothing survived."""
    page = visit.open(f"#/tasks/{named(site.world, 'monthly report')['id']}")
    page.get_by_role("button", name="Kill").click()
    page.get_by_label("Signal").select_option("SIGINT")
    page.get_by_role("dialog").get_by_role("button", name="Kill").click()
    proof = page.locator(".proof")
    expect(proof).to_contain_text("Killed, nothing survived")
    expect(proof).to_contain_text("SIGINT first")
    expect(page.locator("h1 + .badge")).to_have_text("cancelled")


def test_a_waiting_task_says_why(visit: "Visit", site: "Site") -> None:
    """The scheduler's reason is shown with what can be done about it."""
    page = visit.open(f"#/tasks/{named(site.world, 'mail batch 12')['id']}")
    expect(page.locator(".why")).to_contain_text("group mail is at its limit of 4")
    expect(page.locator(".why")).to_contain_text("when the limit is raised")


def test_problems_stand_at_their_fields(visit: "Visit", site: "Site") -> None:
    """The server's complaint is shown at the field, in a part that opens; then it works."""
    visit.expected = ("422",)
    page = visit.open("#/submit")
    page.get_by_label("Command", exact=True).fill("make\nreport")
    page.get_by_role("button", name="Program and arguments").click()
    page.get_by_text("Retries", exact=True).click()
    page.get_by_label("Attempts at most").fill("5000")
    page.get_by_text("Retries", exact=True).click()
    page.get_by_role("button", name="Submit", exact=True).click()
    field = page.get_by_label("Attempts at most")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("must be 1 to 1000")).to_be_visible()
    field.fill("5")
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.get_by_text("The task is submitted")).to_be_visible()
    made = list(site.world.tasks.values())[-1]
    assert (made["command"], made["retry"]) == (["make", "report"], {"max_attempts": 5})


def test_a_group_is_paused(visit: "Visit", site: "Site") -> None:
    """The button turns into its opposite once the server has answered."""
    page = visit.open("#/groups")
    page.get_by_role("button", name="Pause group mail").click()
    expect(page.get_by_role("button", name="Resume group mail")).to_be_visible()
    assert site.world.groups["mail"]["paused"] is True


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_its_window(visit: "Visit", width: int) -> None:
    """Every page fits a phone and a desk, and every control on it has a name."""
    visit.page.set_viewport_size({"width": width, "height": 800})
    for where, loaded in LOADED.items():
        # Another address, so that nothing of the page before is taken for this one's.
        page = visit.open(f"?page={where}#/{where}")
        expect(page.locator("h1").first).to_be_visible()
        expect(page.locator(loaded).first).to_be_visible()
        page.evaluate("document.querySelector('.live').textContent = 'Reconnecting'")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, where
        nameless = page.evaluate(
            """[...document.querySelectorAll('button, a, input, select, textarea')].filter((node) =>
            !node.textContent.trim() && !node.ariaLabel && !(node.labels && node.labels.length)
            ).map((node) => node.outerHTML)"""
        )
        assert nameless == [], where


def test_the_theme_can_be_turned_and_stays(visit: "Visit") -> None:
    """The reader's choice wins over the system's and outlives a reload."""
    page = visit.open()
    page.get_by_label("Switch to the dark theme").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    expect(page.get_by_label("Switch to the light theme")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_the_api_description_is_shown_offline(visit: "Visit") -> None:
    """An OpenAPI 3.1 description is drawn by the viewer that came with the package."""
    page = visit.open("docs")
    expect(page.get_by_text("/api/v1/me", exact=True)).to_be_visible()
    expect(page.get_by_text("Who is asking")).to_be_visible()
    expect(page.get_by_text("OAS 3.1")).to_be_visible()


def test_long_output_keeps_memory_bounded(visit: "Visit") -> None:
    """Of thirty megabytes the last two stay in the page, and the page says so."""
    page = visit.open()
    sizes = page.evaluate(
        """async () => {
            const { LogScreen } = await import("/assets/logscreen.js");
            const screen = new LogScreen();
            let trimmed = 0;
            screen.onTrim = () => { trimmed += 1; };
            const line = "x".repeat(99) + "\\n";
            for (let i = 0; i < 30; i += 1) {
                screen.write("stdout", line.repeat(10_000));
                screen.draw();
            }
            screen.write("stdout", "last\\n");
            screen.draw();
            return [screen.node.textContent.length, screen.node.querySelectorAll(".line").length,
                    trimmed, screen.node.textContent.endsWith("last")];
        }"""
    )
    assert sizes[0] <= 2_000_000
    assert sizes[1] <= 20_000
    assert sizes[2] > 0
    assert sizes[3] is True


ESCAPED: list[tuple[list[str], list[list[str]]]] = [
    (["\x1b[3", "1mred\x1b[0m plain"], [["red", "fg-1"], [" plain", ""]]),
    (["a\x1b]0;title\x07b"], [["a", ""], ["b", ""]]),
    (["\x1b[1;38;5;9mx"], [["x", "bold fg-9"]]),
    (["\x00bell\x07"], [["\u2400", ""], ["bell", ""], ["\u2407", ""]]),
    (["\x1b[2Jcleared"], [["cleared", ""]]),
]
"""Pieces of output, and what is shown of them: texts with their styles."""


def test_escape_sequences_are_read(visit: "Visit") -> None:
    """Styles span pieces; other sequences vanish; stray controls become visible symbols."""
    page = visit.open()
    runs = page.evaluate(
        """async (outputs) => {
            const { AnsiReader } = await import("/assets/ansi.js");
            return outputs.map((pieces) => {
                const reader = new AnsiReader();
                return pieces.flatMap((piece) => reader.read(piece)).map(
                    (token) => [token.text, token.style.classes]);
            });
        }""",
        [pieces for pieces, _ in ESCAPED],
    )
    assert runs == [shown for _, shown in ESCAPED]


def test_pieces_of_output_are_joined_by_offset(visit: "Visit") -> None:
    """What overlaps is cut, what is missing is counted, a split character is put together."""
    page = visit.open()
    taken = page.evaluate(
        """async () => {
            const { LogPieces } = await import("/assets/logpiece.js");
            const pieces = new LogPieces(0);
            return [
                pieces.take({ offset: 0, next_offset: 3, text: "abc" }),
                pieces.take({ offset: 1, next_offset: 5, text: "bcde" }),
                pieces.take({ offset: 2, next_offset: 4, text: "cd" }),
                pieces.take({ offset: 9, next_offset: 10, text: "z" }),
                pieces.take({ offset: 10, next_offset: 11, base64: "4g==" }),
                pieces.take({ offset: 11, next_offset: 13, base64: "gqw=" }),
                pieces.take({ offset: 13, next_offset: 14, base64: "4g==" }),
                { text: pieces.finish(), missing: 0 },
            ];
        }"""
    )
    assert [one["text"] for one in taken] == ["abc", "de", "", "z", "", "€", "", "\ufffd"]
    assert [one["missing"] for one in taken] == [0, 0, 0, 4, 0, 0, 0, 0]
