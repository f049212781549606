"""What functions answer does not act on the dashboard's origin, and freely on one of its own."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import httpx2
import pytest
from greencloud_world import GreenCloudWorld

pytestmark = pytest.mark.anyio

ACTIVE = """\
KINDS = {
    "html": ("text/html", "<title>still</title><script>document.title = 'ran'</script>"),
    "none": ("", "<!doctype html><title>still</title><script>document.title = 'ran'</script>"),
    "twice": ("text/plain, text/html", "<title>still</title><script>document.title='ran'</script>"),
    "svg": (
        "image/svg+xml",
        "<svg xmlns='http://www.w3.org/2000/svg'><title>still</title>"
        "<script>document.querySelector('title').textContent = 'ran'</script></svg>",
    ),
    "xml": (
        "text/xml",
        "<x><s xmlns='http://www.w3.org/1999/xhtml'>still</s>"
        "<script xmlns='http://www.w3.org/1999/xhtml'>"
        "document.querySelector('s').textContent = 'ran'</script></x>",
    ),
}

def handle(event, context):
    kind, body = KINDS[event.query["k"]]
    headers = {
        "Set-Cookie": ["a=b; Path=/", "c=d"], "Service-Worker-Allowed": "/", "X-Own": ["1", "2"],
        "Content-Security-Policy": "default-src * 'unsafe-inline'", "Clear-Site-Data": '"*"',
        "Access-Control-Allow-Credentials": "true", "Location": "/there",
    }
    if kind:
        headers["Content-Type"] = kind
    return {"statusCode": 200, "headers": headers, "body": body.encode()}
"""
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
KINDS = ("html", "none", "twice", "svg", "xml")


def absent(what: str) -> NoReturn:
    """Skip for want of something, except where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="module")
async def endpoint(world: GreenCloudWorld) -> str:
    """An endpoint of a function that answers with what could act as a page."""
    function = await world.acme.deployed(ACTIVE, name="Active")
    return await world.acme.made(f"/v1/endpoint/{function}")


async def answers(url: str, endpoint: str, kind: str) -> list[httpx2.Response]:
    """The two ways to the answer: the call itself, and the page of its result."""
    async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        called = await http.get(f"/gc/{endpoint}?k={kind}", headers={"prefer": "wait=30"})
        result = await http.get(f"/gc/{called.headers['gc-task-id']}/result")
    return [called, result]


@pytest.mark.parametrize("kind", KINDS)
async def test_answers_on_the_dashboards_origin_are_contained(
    world: GreenCloudWorld, endpoint: str, kind: str
) -> None:
    """Sandboxed, not sniffed, without cookies or anything else that is about the origin."""
    for answer in await answers(f"{world.main_url}/greencloud", endpoint, kind):
        assert answer.status_code == 200
        assert answer.headers.get_list("content-security-policy") == ["sandbox"]
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]
        assert answer.headers.get_list("x-own") == ["1", "2"]
        assert answer.headers["location"] == "/there"
        for name in ("set-cookie", "service-worker-allowed", "clear-site-data"):
            assert name not in answer.headers
        assert "access-control-allow-credentials" not in answer.headers


async def test_answers_on_a_listener_of_its_own_are_as_given(
    world: GreenCloudWorld, endpoint: str
) -> None:
    """Byte for byte and header for header, as the contract says."""
    for answer in await answers(world.url, endpoint, "html"):
        assert answer.headers["content-security-policy"] == "default-src * 'unsafe-inline'"
        assert answer.headers.get_list("set-cookie") == ["a=b; Path=/", "c=d"]
        assert answer.headers["service-worker-allowed"] == "/"
        assert "x-content-type-options" not in answer.headers


@pytest.mark.browser
@pytest.mark.parametrize("kind", [one for one in KINDS if one != "none"])
async def test_no_script_of_an_answer_runs_in_a_browser(
    world: GreenCloudWorld, endpoint: str, kind: str, tmp_path: Path
) -> None:
    """Visited on the dashboard's origin; the same page runs on the listener of its own."""
    try:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - may be missing
    except ImportError:
        absent("playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or absent("chromium")
    shared = await answers(f"{world.main_url}/greencloud", endpoint, kind)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=program, args=ARGUMENTS
        )
        page = await browser.new_page()
        await page.goto(f"{world.main_url}/greencloud/gc/{shared[0].headers['gc-task-id']}/result")
        shown = page.locator("title, s").first
        if kind in {"html", "svg", "xml"}:
            assert await shown.text_content() == "still"
            await page.goto(f"{world.url}/gc/{shared[0].headers['gc-task-id']}/result")
            assert await shown.text_content() == "ran"
        else:
            assert await page.title() != "ran"
        await browser.close()
