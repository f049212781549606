"""A server with the fake API in a thread, and headless Chromium to look at it."""

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import uvicorn
from fake_api import application
from fake_world import World, populated

from eventually import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page
    from playwright.sync_api import Request as PlaywrightRequest

CHROMIUM_ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio."""
    return "asyncio"


@dataclass(frozen=True)
class Site:
    """A running server."""

    url: str
    world: World

    def do(self, work: Callable[[], Any]) -> None:
        """Change the world from inside the server's own loop, and wait until that is done."""
        done = threading.Event()

        def run() -> None:
            work()
            done.set()

        assert self.world.loop is not None
        self.world.loop.call_soon_threadsafe(run)
        assert done.wait(5)


@pytest.fixture
def site() -> Iterator[Site]:
    """The dashboard with the fake API behind it, on a free port of the loopback address."""
    world = populated()
    config = uvicorn.Config(
        application(world), log_level="error", timeout_graceful_shutdown=1, ws="websockets-sansio"
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    eventually(lambda: server.started or not thread.is_alive())
    assert server.started, "the fake server does not start"
    yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}", world)
    server.should_exit = True
    thread.join(10)
    listener.close()


def absent(what: str) -> NoReturn:
    """Skip for want of something, except where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


def chromium_path() -> str:
    """Where Chromium is installed; skips without one."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        absent("chromium")
    return str(path)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One headless Chromium, with a fresh profile."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only browser tests need it
    except ModuleNotFoundError:
        absent("playwright")
    path = chromium_path()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A page, and everything it should not have done."""

    def __init__(self, page: "Page", site: Site) -> None:
        self.page = page
        self.site = site
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ()
        """Parts of console messages that belong to the test."""
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("console", self.heard)
        page.on("request", self.saw)

    def heard(self, message: "ConsoleMessage") -> None:
        """Remember errors and warnings, which include violations of the policy."""
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def saw(self, request: "PlaywrightRequest") -> None:
        """Remember requests to anybody else, and credentials in addresses of pages."""
        if not request.url.startswith((self.site.url, "data:", "blob:")):
            self.complaints.append(f"external request: {request.url}")

    def open(self, where: str = "", signed_in: bool = True) -> "Page":
        """Go to a place, signed in with the token ``dev`` unless told otherwise."""
        if signed_in:
            held = json.dumps(json.dumps({"kind": "token", "token": "dev"}))
            self.page.add_init_script(f"sessionStorage.setItem('taskyard.credential', {held})")
        self.page.goto(f"{self.site.url}/{where}")
        return self.page

    def check(self) -> None:
        """Fail if the page did anything it should not have done."""
        bad = [one for one in self.complaints if not any(part in one for part in self.expected)]
        assert bad == []


@pytest.fixture
def visit(browser: "Browser", site: Site) -> Iterator[Visit]:
    """A fresh page; at the end nothing must have gone wrong on it."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    made = Visit(context.new_page(), site)
    yield made
    context.close()
    made.check()
