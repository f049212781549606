"""The page that follows the output, in a real browser."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from fastlane_world import FastlaneWorld

from taskyard.ports.logs import Stream

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def absent(what: str) -> NoReturn:
    """Skip for want of something, except where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator["Page"]:
    """An empty page; what it complains of fails the test."""
    try:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - may be missing
    except ImportError:
        absent("playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or absent("chromium")
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=program, args=ARGUMENTS
        )
        found = await browser.new_page()
        found.on("pageerror", lambda error: complaints.append(str(error)))
        yield found
        await browser.close()
    assert complaints == []


async def test_output_is_followed_as_text(world: FastlaneWorld, page: "Page") -> None:
    """Below the prefix too: live, no markup out of output, complete at the end."""
    enqueued = await world.enqueue("hang")
    await world.execution(enqueued, "running")
    attempt = await world.hanging()
    world.worker.say(attempt, Stream.STDOUT, b"<b id=evil>first</b>\n")
    path = f"/fastlane/tasks/mail/jobs/{enqueued['jobId']}/stream"
    await page.goto(world.main_url + path)
    await page.get_by_text("<b id=evil>first</b>").wait_for()
    assert await page.locator("#evil").count() == 0
    assert await page.locator("#state").inner_text() == "following"
    world.worker.say(attempt, Stream.STDERR, b"second")
    await page.get_by_text("second").wait_for()
    await world.worker.finish(attempt)
    await page.locator("#state[data-state=done]").wait_for()
    assert enqueued["jobId"] in await page.title()


async def test_what_waits_is_looked_at_again(world: FastlaneWorld, page: "Page") -> None:
    """Until there is output."""
    enqueued = await world.enqueue("pull")
    await world.execution(enqueued, "pulling")
    await page.goto(f"{world.url}/tasks/mail/jobs/{enqueued['jobId']}/stream/")
    await page.locator("#state", has_text="waiting for output").wait_for()
    await world.worker.finish(await world.hanging())
    await page.locator("#state[data-state=done]").wait_for()
    await page.get_by_text("EXIT CODE: 0").wait_for()
