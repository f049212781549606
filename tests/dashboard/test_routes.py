"""The addresses of the dashboard, over HTTP."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from taskyard import dashboard
from taskyard.dashboard.assets import load_assets, swagger_assets
from taskyard.dashboard.routes import dashboard_router

pytestmark = pytest.mark.anyio
Client = TestClient[Litestar]


@pytest.fixture
def client() -> Client:
    """A client of the dashboard alone."""
    return TestClient(Litestar([dashboard_router()], openapi_config=None))


@pytest.mark.parametrize("path", ["/", "/docs", "/assets/app.js", "/docs/assets/swagger-ui.css"])
def test_every_answer_carries_the_protecting_headers(client: Client, path: str) -> None:
    """Nothing is loaded from elsewhere, guessed at, framed, or told to others."""
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["etag"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/docs", "text/html; charset=utf-8"),
        ("/assets/app.js", "text/javascript; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/icon.svg", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
        ("/docs/assets/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    ],
)
def test_files_have_their_types(client: Client, path: str, kind: str) -> None:
    """A browser that may not guess needs the right type."""
    assert client.get(path).headers["content-type"] == kind


def test_the_page_forbids_parsing_strings_as_markup(client: Client) -> None:
    """The browser itself refuses innerHTML and its like."""
    policy = client.get("/").headers["content-security-policy"]
    assert "require-trusted-types-for 'script'" in policy


def test_a_file_of_this_release_may_be_kept(client: Client) -> None:
    """Its address changes with its content; the page's own does not."""
    digest = load_assets().digest
    assert f'"/assets/{digest}/app.js"' in client.get("/").text
    assert "immutable" in client.get(f"/assets/{digest}/app.js").headers["cache-control"]
    assert client.get("/assets/older/app.js").headers["cache-control"] == "no-cache"
    assert client.get("/").headers["cache-control"] == "no-cache"


def test_a_file_the_client_holds_is_not_sent_again(client: Client) -> None:
    """If-None-Match with the present validator answers 304 without a body."""
    etag = client.get("/").headers["etag"]
    again = client.get("/", headers={"If-None-Match": f'"other", {etag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert client.get("/", headers={"If-None-Match": '"other"'}).status_code == 200


def test_files_are_packed_for_clients_that_unpack(client: Client) -> None:
    """The packed bytes hold the same file; others get it plain."""
    plain = client.get("/assets/app.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    packed = load_assets().files["app.js"].packed
    assert packed is not None
    assert gzip.decompress(packed) == plain.content
    answer = client.get("/assets/app.js", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == plain.content


@pytest.mark.parametrize(
    "path",
    [
        "/assets/none.js",
        "/assets/index.html",
        "/assets/x/..%2froutes.py",
        "/docs/assets/index.html",
    ],
)
def test_anything_else_is_not_found(client: Client, path: str) -> None:
    """Only known names are served; nothing is looked up on disk."""
    assert client.get(path).status_code == 404


def test_head_answers_without_a_body(client: Client) -> None:
    """Probes may ask with HEAD."""
    answer = client.head("/")
    assert (answer.status_code, answer.content) == (200, b"")


def test_the_viewer_comes_with_the_package() -> None:
    """No part of the API page is fetched from elsewhere, nor is a missing source map asked for."""
    found = swagger_assets()
    assert set(found) == {"swagger-ui.css", "swagger-ui-bundle.js"}
    assert all(b"sourceMappingURL=" not in one.body for one in found.values())


def test_the_viewer_is_the_release_it_says() -> None:
    """Whoever updates one file updates all, and changes none by hand."""
    folder = Path(dashboard.__file__).parent / "swagger_ui"
    said = dict(
        re.findall(r"`(\S+)` \| `([0-9a-f]{64})`", (folder / "README.md").read_text("utf-8"))
    )
    assert set(said) == {"swagger-ui.css", "swagger-ui-bundle.js"}
    for name, digest in said.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
