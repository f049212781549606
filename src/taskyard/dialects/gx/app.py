"""The dialect as an application: its routes, and what every answer has.

Every answer says that pages of all origins may read it, as the contract has it.
"""

from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.dialects.gx import routes_stream, routes_tasks
from taskyard.dialects.gx.dialect import Gx
from taskyard.dialects.gx.settings import GxSettings
from taskyard.dialects.http.answers import with_headers
from taskyard.dialects.http.application import application
from taskyard.dialects.http.dialect import DialectContext

_ORIGIN: Final = (b"access-control-allow-origin", b"*")


def gx_app(context: DialectContext, settings: GxSettings) -> ASGIApp:
    """The application; it sees paths from its own root on."""
    app = application(Gx(context, settings), [*routes_tasks.routes, *routes_stream.routes])

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, with_headers(send, lambda headers: [*headers, _ORIGIN]))

    return serve
