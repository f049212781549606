"""Answers on a shared origin: sandboxed, not sniffed, with headers about themselves only."""

from typing import Any

import pytest
from litestar.types import Receive, Scope, Send

from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.sandbox import sandboxed, without_origin_headers

pytestmark = pytest.mark.anyio

POLICY, OPTIONS = b"content-security-policy", b"x-content-type-options"


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


async def headers_of(*headers: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """What an answer with these headers is sent with."""
    sent: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Answer(200, b"x", headers)(scope, receive, send)

    async def receive() -> Any:
        raise AssertionError("nothing is received")

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"method": "GET"}
    await sandboxed(app)(scope, receive, send)
    found: list[tuple[bytes, bytes]] = sent[0]["headers"]
    return found


@pytest.mark.parametrize(
    "types",
    [
        (),
        (b"text/html",),
        (b"image/svg+xml",),
        (b"application/xhtml+xml",),
        (b"text/xml",),
        (b"application/xslt+xml",),
        (b"application/pdf",),
        (b"text/plain; charset=utf-8",),
        (b"application/octet-stream",),
        (b"application/json, text/html",),
        (b"application/json;x", b"text/html"),
        (b"application/json", b"text/html"),
        (b"text/html", b"application/json"),
    ],
)
async def test_everything_that_could_be_a_page_is_sandboxed(types: tuple[bytes, ...]) -> None:
    """Whatever its type, none or several of them included."""
    sent = await headers_of(*((b"content-type", one) for one in types))
    assert sent.count((POLICY, b"sandbox")) == 1
    assert sent.count((OPTIONS, b"nosniff")) == 1


async def test_data_is_not_sniffed_and_own_pages_keep_their_policy() -> None:
    """JSON needs no sandbox; a page of ours says itself what it may."""
    assert await headers_of((b"content-type", b"application/json")) == [
        (b"content-type", b"application/json"),
        (b"content-length", b"1"),
        (OPTIONS, b"nosniff"),
    ]
    page = await headers_of((b"content-type", b"text/html"), (POLICY, b"default-src 'self'"))
    assert [value for name, value in page if name == POLICY] == [b"default-src 'self'"]


def test_headers_for_more_than_the_answer_are_left_out() -> None:
    """State, routes, prompts and policies of the origin; what is about the answer is kept."""
    for name in (
        *("set-cookie", "clear-site-data", "service-worker-allowed", "strict-transport-security"),
        *("alt-svc", "refresh", "link", "www-authenticate", "speculation-rules", "report-to"),
        *("content-security-policy", "content-security-policy-report-only", "nel", "sourcemap"),
        *("access-control-allow-origin", "access-control-allow-credentials"),
        "x-content-type-options",
    ):
        assert without_origin_headers([(name.encode(), b"x")]) == []
    kept = [
        (b"content-type", b"text/html"),
        (b"location", b"/elsewhere"),
        (b"x-own", b"1"),
        (b"x-own", b"2"),
        (b"content-disposition", b"attachment"),
        (b"cache-control", b"no-store"),
    ]
    assert without_origin_headers(kept) == kept
