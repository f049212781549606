"""The dialect as an application: the routes, and what browsers ask before they use them."""

import re
from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.dialects.greencloud.accounts import Accounts
from taskyard.dialects.greencloud.call import GreenCloud
from taskyard.dialects.greencloud.errors import error_answer
from taskyard.dialects.greencloud.routes_public import preflight
from taskyard.dialects.greencloud.routing import litestar_app
from taskyard.dialects.greencloud.settings import GreenCloudSettings
from taskyard.dialects.greencloud.sign_in import SignIn
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.sockets import refuse_upgrade

_PUBLIC: Final = re.compile(r"/gc/([^/]+)(/result)?/?\Z")


def greencloud_app(
    host: DialectContext, settings: GreenCloudSettings, prefix: str, sign_in: SignIn
) -> ASGIApp:
    """The application below a prefix that was taken off its paths."""
    if host.dev:
        settings = settings.with_dev()
    greencloud = GreenCloud(host, settings, prefix, Accounts(host, settings), sign_in)
    routes = litestar_app(greencloud)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if "method" not in scope:  # a WebSocket
            await receive()
            answer = error_answer(404, "NOT_FOUND", "there is no such path")
            return await refuse_upgrade(scope, send, answer)
        public = _PUBLIC.match(scope["path"])
        if public and scope.get("method") == "OPTIONS":
            endpoint_id = None if public[2] else public[1]
            answer = await preflight(greencloud, scope, endpoint_id)
            return await answer(scope, receive, send)
        return await routes(scope, receive, send)

    return serve
