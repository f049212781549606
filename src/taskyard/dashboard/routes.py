"""The addresses of the dashboard: ``/``, ``/docs``, and the files below ``/assets``.

None needs a credential: the files are the same for everybody and hold no data. Every answer
carries headers that let the page load nothing from elsewhere and nobody else frame it.
"""

from typing import Any, Final

from litestar import HttpMethod, Request, Response, Router, route
from litestar.exceptions import NotFoundException

from taskyard.dashboard.assets import Asset, Assets, load_assets, swagger_assets

_STRICT: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
PAGE_POLICY: Final = f"{_STRICT}; require-trusted-types-for 'script'; trusted-types 'none'"
"""Policy of the dashboard: also refuses every string that would be parsed as HTML or script."""
DOCS_POLICY: Final = _STRICT
"""Policy of ``/docs``: its viewer sanitizes and parses the descriptions it shows itself."""

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_KEEP: Final = "public, max-age=31536000, immutable"
_ASK: Final = "no-cache"
_METHODS: Final = [HttpMethod.GET, HttpMethod.HEAD]
_PUBLIC: Final = {"exclude_from_auth": True}


def dashboard_router(assets: Assets | None = None) -> Router:
    """Handlers of the dashboard, to be mounted at the root of a listener.

    Their ``opt`` says ``exclude_from_auth``. Raises ``AssetsMissing`` when the installation is
    incomplete.
    """
    held = assets or load_assets()

    @route("/", http_method=_METHODS, include_in_schema=False, opt=_PUBLIC)
    async def index(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _answer(request, held.pages["index.html"], _ASK, PAGE_POLICY)

    @route("/docs", http_method=_METHODS, include_in_schema=False, opt=_PUBLIC)
    async def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _answer(request, held.pages["docs.html"], _ASK, DOCS_POLICY)

    @route("/favicon.ico", http_method=_METHODS, include_in_schema=False, opt=_PUBLIC)
    async def favicon(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _answer(request, held.files["icon.svg"], _ASK, PAGE_POLICY)

    @route("/assets/{name:str}", http_method=_METHODS, include_in_schema=False, opt=_PUBLIC)
    async def unversioned(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _answer(request, _known(held.files, request), _ASK, PAGE_POLICY)

    @route(
        "/assets/{release:str}/{name:str}",
        http_method=_METHODS,
        include_in_schema=False,
        opt=_PUBLIC,
    )
    async def versioned(request: Request[Any, Any, Any]) -> Response[bytes]:
        # A page left open over an upgrade still asks for its own release. It gets the present
        # files, which it must not keep under the old address.
        cache = _KEEP if request.path_params["release"] == held.digest else _ASK
        return _answer(request, _known(held.files, request), cache, PAGE_POLICY)

    @route(
        "/docs/assets/{name:str}",
        http_method=_METHODS,
        include_in_schema=False,
        opt=_PUBLIC,
        sync_to_thread=True,
    )
    def swagger(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _answer(request, _known(swagger_assets(), request), _ASK, DOCS_POLICY)

    return Router(path="/", route_handlers=[index, docs, favicon, unversioned, versioned, swagger])


def _known(files: dict[str, Asset], request: Request[Any, Any, Any]) -> Asset:
    name = str(request.path_params["name"])
    found = files.get(name)
    if found is None:
        raise NotFoundException(detail=f"the dashboard has no file {name!r}")
    return found


def _answer(
    request: Request[Any, Any, Any], asset: Asset, cache_control: str, policy: str
) -> Response[bytes]:
    """The asset, packed if the client takes that, or 304 if it holds it already."""
    headers = {
        **_HEADERS,
        "Content-Security-Policy": policy,
        "Cache-Control": cache_control,
        "ETag": asset.etag,
        "Vary": "Accept-Encoding",
    }
    held = request.headers.get("if-none-match", "")
    if held.strip() == "*" or asset.etag in (one.strip() for one in held.split(",")):
        return Response(
            content=b"", status_code=304, headers=headers, media_type=asset.content_type
        )
    body = asset.body
    if asset.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        body = asset.packed
        headers["Content-Encoding"] = "gzip"
    return Response(content=body, headers=headers, media_type=asset.content_type)
