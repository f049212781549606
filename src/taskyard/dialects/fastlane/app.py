"""The dialect as one application: the request path, from the outside in.

1. one log line for each request;
2. origins: who may read the answers in a browser; preflights are answered here;
3. credentials;
4. HEAD, OPTIONS and DEL;
5. compression of JSON;
6. Litestar: find the route and answer, with and without a final slash.
"""

from litestar.types import ASGIApp

from taskyard.dialects.fastlane.dialect import Fastlane
from taskyard.dialects.fastlane.guarding import guarded
from taskyard.dialects.fastlane.routing import litestar_app
from taskyard.dialects.fastlane.settings import FastlaneSettings
from taskyard.dialects.fastlane.wrapping import compressed, crossing, logged, methods, options
from taskyard.dialects.http.dialect import DialectContext


def fastlane_app(host: DialectContext, settings: FastlaneSettings, prefix: str) -> ASGIApp:
    """The application below a prefix that was taken off its paths."""
    fastlane = Fastlane(host, settings, prefix)
    routes = litestar_app(fastlane)
    on_options = options(routes)
    inner = methods(routes, compressed(routes), on_options)
    return logged(fastlane, crossing(fastlane, guarded(fastlane, inner), on_options))
