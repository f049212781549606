"""Middleware: the log line of each request, CORS, names of methods, compression."""

import gzip
import time
import uuid
from collections.abc import Sequence
from typing import Any, Final

import anyio.to_thread
import structlog
from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.dialects.fastlane.auth import address_of_caller
from taskyard.dialects.fastlane.dialect import Fastlane
from taskyard.dialects.http.answers import with_headers
from taskyard.dialects.http.requests import header_of

ALLOWED: Final = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
_IN_A_THREAD: Final = 64 << 10
_LEVEL: Final = 6

log = structlog.get_logger(__name__)


def request_log(fastlane: Fastlane, app: ASGIApp) -> ASGIApp:
    """One line for each request."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if "method" not in scope:  # a WebSocket
            return await app(scope, receive, send)
        began = time.monotonic()
        request_id = (header_of(scope, b"x-request-id") or "")[:200] or str(uuid.uuid4())
        status = 0

        async def noting(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method, path = scope.get("method"), fastlane.prefix + scope["path"]
        try:
            await app(scope, receive, noting)
        finally:
            log.info(
                "fastlane_request",
                method=method,
                path=path.encode(errors="replace").decode(),
                status=status,
                duration_ms=round((time.monotonic() - began) * 1000, 1),
                ip=address_of_caller(scope),
                host=header_of(scope, b"host"),
                request_id=request_id,
            )

    return serve


def cors(fastlane: Fastlane, app: ASGIApp, preflight: ASGIApp) -> ASGIApp:
    """Say which origins may read answers; preflights are answered before credentials are asked."""
    settings = fastlane.settings
    if not settings.cors:
        return app
    origins = settings.cors_origins

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if "method" not in scope:  # a WebSocket
            return await app(scope, receive, send)
        origin = header_of(scope, b"origin")
        added = _origin_headers(origins, origin)
        wanted = header_of(scope, b"access-control-request-method")
        is_preflight = (
            scope.get("method") == "OPTIONS" and origin is not None and wanted is not None
        )
        if is_preflight and added and added[0][0] == b"access-control-allow-origin":
            added.append((b"access-control-allow-methods", ALLOWED))
            asked = header_of(scope, b"access-control-request-headers")
            if asked:
                added.append((b"access-control-allow-headers", asked.encode("latin-1")))

        replying = with_headers(send, lambda headers: [*headers, *added])
        return await (preflight if is_preflight else app)(scope, receive, replying)

    return serve


def _origin_headers(origins: Sequence[str], origin: str | None) -> list[tuple[bytes, bytes]]:
    everybody = "*" in origins
    if origin is None:
        return [(b"access-control-allow-origin", b"*")] if everybody else []
    varies = (b"vary", b"Origin")
    if not everybody and origin not in origins:
        return [varies]
    return [(b"access-control-allow-origin", origin.encode("latin-1")), varies]


def method_aliases(app: ASGIApp) -> ASGIApp:
    """HEAD is GET without its body; DEL is DELETE."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method")
        if method == "HEAD":
            return await app(_as(scope, "GET"), receive, _headers_only(send))
        if method == "DEL":
            return await app(_as(scope, "DELETE"), receive, send)
        return await app(scope, receive, send)

    return serve


def _as(scope: Scope, method: str) -> Scope:
    changed: Any = {**scope, "method": method}
    found: Scope = changed
    return found


def _headers_only(send: Send) -> Send:
    async def without(message: Any) -> None:
        if message["type"] == "http.response.body":
            message["body"] = b""
        await send(message)

    return without


def compression(app: ASGIApp) -> ASGIApp:
    """Good JSON answers, for those who can read them so."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        accepted = header_of(scope, b"accept-encoding") if "method" in scope else None
        if accepted is None or "gzip" not in accepted.lower():
            return await app(scope, receive, send)
        start: Any = None

        async def packing(message: Any) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_good_json(message):
                start = message
                return
            if start is None:
                await send(message)
                return
            headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
            body = await _packed(message["body"])
            start["headers"] = [
                *headers,
                (b"content-encoding", b"gzip"),
                (b"vary", b"Accept-Encoding"),
                (b"content-length", b"%d" % len(body)),
            ]
            message["body"] = body
            await send(start)
            start = None
            await send(message)

        return await app(scope, receive, packing)

    return serve


def _is_good_json(message: Any) -> bool:
    """Whether it begins such an answer; those come in one piece (``schemas.py``)."""
    if message["type"] != "http.response.start" or not 200 <= message["status"] < 300:
        return False
    return (b"content-type", b"application/json") in message["headers"]


async def _packed(body: bytes) -> bytes:
    if len(body) < _IN_A_THREAD:
        return gzip.compress(body, _LEVEL)
    return await anyio.to_thread.run_sync(gzip.compress, body, _LEVEL)
