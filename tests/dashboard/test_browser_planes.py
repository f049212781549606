"""Control planes in the dashboard: who leads, who is silent, who is cut off."""

import os
from typing import TYPE_CHECKING

import pytest
from fake_world import Json, ago
from test_browser import expect

if TYPE_CHECKING:
    from conftest import Site, Visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(60),
    pytest.mark.xdist_group("browser"),
]


def plane(name: str, state: str, heard_s: float) -> Json:
    """One control plane, as the API shows it."""
    address = f"https://{name}.example:8000"
    return {
        "id": f"{name}-4f2a91", "name": name, "address": address, "version": "0.1.0",
        "state": state, "joined_at": ago(86_400), "beat_at": ago(heard_s), "silent_s": heard_s,
    }  # fmt: skip


def cluster(**changes: object) -> Json:
    """An installation of three, answered by the first."""
    planes = [
        plane("forge", "following", 0.4),
        plane("anvil", "leading", 0.2),
        plane("bellows", "silent", 95),
    ]
    seen = {"plane": "forge-4f2a91", "leader": "anvil-4f2a91", "term": 7}
    return {**seen, "hears_messages": True, "hears_changes": True, "planes": planes, **changes}


def test_planes_are_shown_with_what_they_do(visit: "Visit", site: "Site") -> None:
    """Each with state, address, version and when it was last heard; who leads, and since which
    term.
    """
    site.world.cluster = cluster()
    page = visit.open()
    section = page.get_by_role("region", name="Control planes")
    rows = section.locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("forge-4f2a91 (answers here)")
    for number, state in enumerate(("following", "leading", "silent")):
        expect(rows.nth(number).locator(".badge")).to_have_text(state)
    expect(rows.nth(1)).to_contain_text("https://anvil.example:8000")
    expect(rows.nth(1)).to_contain_text("0.1.0")
    expect(rows.nth(2)).to_contain_text("ago")
    expect(section).to_contain_text("anvil-4f2a91 leads, in term 7.")
    expect(section.locator(".problem")).to_have_count(0)
    if where := os.environ.get("SCREENSHOT"):
        page.screenshot(path=where, full_page=True)


def test_what_is_cut_off_is_told(visit: "Visit", site: "Site") -> None:
    """From the database, from NATS, and while nobody leads; gone when it is over."""
    site.world.cluster = cluster(leader=None, term=None)
    page = visit.open()
    problems = page.get_by_role("region", name="Control planes").locator(".problem")
    expect(problems).to_have_text(["No control plane leads at the moment: tasks are stored and"
                                   " wait. One takes over within 5 seconds."])  # fmt: skip
    site.world.cluster = cluster(hears_messages=False, hears_changes=False, leader=None)
    expect(problems).to_have_count(2)
    expect(problems.nth(0)).to_contain_text("cut off from the database")
    expect(problems.nth(1)).to_contain_text("cut off from NATS")
    if where := os.environ.get("SCREENSHOT"):
        page.screenshot(path=where.replace(".png", "-cut.png"), full_page=True)
    site.world.cluster = cluster()
    expect(problems).to_have_count(0)


def test_on_sqlite_there_is_nothing_of_it(visit: "Visit", site: "Site") -> None:
    """Nor is it asked for again."""
    page = visit.open()
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()
    page.wait_for_timeout(4000)  # longer than it looks again, where there are any
    expect(page.get_by_role("heading", name="Control planes")).to_be_hidden()
    assert site.world.cluster_asked == 1
