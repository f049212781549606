"""The page in front of the server itself: what a fake API cannot know."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eventually import eventually
from leftovers import short_directory
from taskyard.sdk import Client

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TURNS = "for i in 1 2 3; do echo out $i; sleep 0.05; echo err $i >&2; sleep 0.05; done"
LINES = ["out 1", "err 1", "out 2", "err 2", "out 3", "err 3"]


class Node:
    """A server on a data directory of its own."""

    def __init__(self, data: Path, url: str) -> None:
        self.data = data
        self.url = url


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A running server."""
    with short_directory() as data:
        environment = {"PATH": os.environ["PATH"], "HOME": str(data)}
        command = [sys.executable, "-m", "taskyard", "up", "--dev", "--port", "0"]
        log = (data / "log").open("wb")
        server = subprocess.Popen(
            [*command, "--data", str(data)], env=environment, stdout=log, stderr=log
        )
        try:
            eventually(lambda: (data / "server.json").exists() or server.poll() is not None)
            address = json.loads((data / "server.json").read_text())["url"]
            yield Node(data, address)
        finally:
            server.terminate()
            server.wait(30)
            log.close()


@pytest.fixture
def page(browser: "Browser", node: Node) -> Iterator["Page"]:
    """A page, signed in."""
    context = browser.new_context()
    page = context.new_page()
    held = json.dumps(json.dumps({"kind": "token", "token": "dev"}))
    page.add_init_script(f"sessionStorage.setItem('taskyard.credential', {held})")
    page.goto(node.url)
    yield page
    context.close()


def lines_of(page: "Page") -> list[str]:
    """The output on the page, remarks left out."""
    found = page.get_by_role("log").locator(".line:not(.remark)")
    return [text.strip() for text in found.all_text_contents()]


@pytest.mark.parametrize("then", ["", "; sleep 60"])
def test_a_reload_shows_output_in_the_same_order(node: Node, page: "Page", then: str) -> None:
    """As it came, while it is watched and afterwards."""
    from playwright.sync_api import expect  # noqa: PLC0415 - only browser tests need it

    with Client(node.url, token="dev") as client:
        task = client.submit(TURNS + then)
        page.goto(f"{node.url}/#/tasks/{task.id}")
        expect(page.get_by_role("log")).to_contain_text("err 3")
        assert lines_of(page) == LINES
        page.reload()
        expect(page.get_by_role("log")).to_contain_text("err 3")
        assert lines_of(page) == LINES
        client.cancel_many(group="default")


def test_both_streams_are_saved_in_order(node: Node, page: "Page") -> None:
    """As one file."""
    with Client(node.url, token="dev") as client:
        task = client.submit(TURNS)
        client.wait(task.id, 30)
    page.goto(f"{node.url}/#/tasks/{task.id}")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download all of both").click()
    assert saved.value.path().read_text().splitlines() == LINES


def test_output_that_is_gone_is_told(node: Node, page: "Page") -> None:
    """What is left is shown all the same."""
    from playwright.sync_api import expect  # noqa: PLC0415 - as above

    with Client(node.url, token="dev") as client:
        task = client.submit("head -c 100000 /dev/zero; echo here >&2")
        client.wait(task.id, 30)
        (attempt,) = client.attempts(task.id)
    (node.data / "attempts" / attempt.id / "stdout").unlink()
    page.goto(f"{node.url}/#/tasks/{task.id}")
    log = page.get_by_role("log")
    expect(log).to_contain_text("of stdout are gone: deleted")
    expect(log.get_by_text("here")).to_be_visible()
