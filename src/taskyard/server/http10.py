"""Answers for clients of HTTP/1.0, which know neither chunks nor ``100 Continue``.

uvicorn sends chunks whenever the length of an answer is not known; these clients would take the
sizes for data (RFC 9112, 6.1). They get the bytes alone, up to the end of the connection.
"""

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def without_chunks(cycle: RequestResponseCycle, app: ASGIApp) -> ASGIApp:
    """The application for one request of HTTP/1.0."""
    cycle.waiting_for_100_continue = False

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        until_close = False

        async def sending(message: Message) -> None:
            nonlocal until_close
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message.get("headers", [])}
                until_close = b"content-length" not in names
                if until_close:
                    cycle.chunked_encoding = False
            elif message["type"] == "http.response.body" and until_close:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, sending)

    return serve
