"""A page of another origin creates tasks and follows a workspace, in a real browser."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from anyio.from_thread import start_blocking_portal
from gx_world import GxWorld, opened

if TYPE_CHECKING:
    from playwright.sync_api import Page

# A group of its own: while it runs, Playwright keeps a loop going that no other test can share.
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(60),
    pytest.mark.xdist_group("browser"),
]
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PAGE = b"""<!doctype html><meta charset="utf-8"><title>elsewhere</title><script>
async function ask(base, method, path, query, body) {
  const options = {method};
  if (body !== undefined) {
    options.headers = {"Content-Type": "application/json"};
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(`${base}${path}?${new URLSearchParams(query)}`, options);
  return [answer.status, await answer.text()];
}
function follow(base, query) {
  window.lists = [];
  window.code = null;
  const url = `${base.replace("http", "ws")}/ws/tasks?${new URLSearchParams(query)}`;
  window.socket = new WebSocket(url);
  window.socket.onmessage = (event) => window.lists.push(JSON.parse(event.data));
  window.socket.onclose = (event) => { window.code = event.code; };
}
</script>"""
QUERY = {"api_key": "dev", "workspace_id": "[b`]"}


def absent(what: str) -> NoReturn:
    """Skip for want of something, except where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


class _Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[GxWorld]:
    """A served engine in a thread of its own."""
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(opened(tmp_path / "data")) as world,
    ):
        yield world


@pytest.fixture
def page() -> Iterator["Page"]:
    """A page from a port of its own, in a fresh browser."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only browser tests need it
    except ModuleNotFoundError:
        absent("playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        absent("chromium")
    elsewhere = ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    thread = threading.Thread(target=elsewhere.serve_forever, args=(0.05,))
    thread.start()
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
            page = browser.new_page()
            page.set_default_timeout(20_000)
            page.goto(f"http://127.0.0.1:{elsewhere.server_port}/")
            yield page
            browser.close()
    finally:
        elsewhere.shutdown()
        thread.join(10)
        elsewhere.server_close()


def test_a_page_of_another_origin_creates_and_follows(served: GxWorld, page: "Page") -> None:
    """Preflights, answers and errors are readable, and the stream tells what happens."""

    def ask(method: str, path: str, body: Any = None, query: Any = None) -> Any:
        script = "([base, method, path, query, body]) => ask(base, method, path, query, body)"
        arguments = [served.url, method, path, QUERY if query is None else query]
        status, text = page.evaluate(script, [*arguments, body] if body else arguments)
        return status, json.loads(text) if text else None

    assert not page.url.startswith(served.url)
    page.evaluate("([base, query]) => follow(base, query)", [served.url, QUERY])
    page.wait_for_function("lists.length > 0")
    assert page.evaluate("lists[0]") == []
    task = {"id": 1, "name": "from a page 🐦", "type": "gx.tiny"}
    body = {"name": task["name"], "type": task["type"]}
    assert ask("POST", "/tasks", body) == (200, {"task": {**task, "status": "queued"}})
    page.wait_for_function("lists.at(-1).length === 1 && lists.at(-1)[0].status === 'completed'")
    assert page.evaluate("lists.at(-1)") == [{**task, "status": "completed"}]
    assert ask("GET", "/tasks") == (200, {"tasks": [{**task, "status": "completed"}]})
    # Errors are as readable as answers; a delete has to be asked about first.
    assert ask("DELETE", "/tasks/abc") == (400, {"message": "invalid task id"})
    assert ask("DELETE", "/tasks/1")[0] == 404
    assert ask("GET", "/tasks", query={"api_key": "no"}) == (403, {"message": "Forbidden"})
    assert ask("POST", "/tasks/flush") == (204, None)
    page.wait_for_function("lists.at(-1).length === 0")
    page.evaluate("socket.close()")
    page.wait_for_function("code !== null")
    # Refused before the upgrade: a page only learns that it failed.
    page.evaluate("([base, query]) => follow(base, query)", [served.url, {"api_key": "no"}])
    page.wait_for_function("code !== null")
    assert page.evaluate("code") == 1006
