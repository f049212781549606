"""The dialect as one application: the request path, from the outside in.

1. one log line for each request;
2. CORS: who may read the answers in a browser; preflights are answered here;
3. credentials;
4. HEAD and DEL, which stand for other methods;
5. compression of JSON;
6. the routes.
"""

from litestar.types import ASGIApp

from taskyard.dialects.fastlane import routes_jobs, routes_lists, routes_streams
from taskyard.dialects.fastlane.auth import authenticated
from taskyard.dialects.fastlane.dialect import Call, Fastlane
from taskyard.dialects.fastlane.middleware import compression, cors, method_aliases, request_log
from taskyard.dialects.fastlane.schemas import document_answer
from taskyard.dialects.fastlane.settings import FastlaneSettings
from taskyard.dialects.http.application import application
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.routes import WEBSOCKET, Routes


def fastlane_app(context: DialectContext, settings: FastlaneSettings, prefix: str) -> ASGIApp:
    """The application below a prefix that was taken off its paths."""
    dialect = Fastlane(context, settings, prefix)
    routes = [*routes_lists.routes, *routes_jobs.routes, *routes_streams.routes]
    app = application(dialect, [*routes, *(debug_routes if settings.debug else ())])
    inner = method_aliases(compression(app))
    return request_log(dialect, cors(dialect, authenticated(dialect, inner), app))


debug_routes = Routes[Call, None](access=None)


@debug_routes.get("/routes")
async def list_routes(call: Call) -> ASGIApp:  # noqa: ARG001 - as all handlers
    """``GET /routes``: what there is, in debug mode."""
    return document_answer(
        [
            {
                "endpoint": one.path.replace("{", "<").replace("}", ">"),
                "methods": [*one.methods],
                "doc": (getattr(one.handler, "func", one.handler).__doc__ or "").strip(),
            }
            for one in (*routes_lists.routes, *routes_jobs.routes, *routes_streams.routes)
            if one.methods != (WEBSOCKET,)
        ]
    )
