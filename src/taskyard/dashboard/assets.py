"""The files of the dashboard, held in memory with what HTTP has to say about each.

Modules import each other by relative path. They are served below a path that carries a digest of
all of them (``/assets/<digest>/app.js``), so that a browser may keep them forever and a page
never mixes modules of two releases.
"""

import gzip
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

from msgspec import Struct

from taskyard.dashboard.errors import AssetsMissing

CONTENT_TYPES: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
"""By suffix; a file of another kind is not served. Litestar adds the character set to text."""

_UNCOMPRESSED: Final = frozenset({".png"})
_PAGES: Final = ("index.html", "docs.html")
_NOT_PRELOADED: Final = frozenset({"early.js", "docs.js"})
_SWAGGER_FILES: Final = ("swagger-ui.css", "swagger-ui-bundle.js")


class Asset(Struct, frozen=True):
    """One file, ready to be sent."""

    name: str
    body: bytes
    packed: bytes | None
    """``body`` in gzip; None where that does not make it smaller."""
    content_type: str
    etag: str
    """Weak validator, since it holds for the packed bytes as well."""


def asset(name: str, body: bytes) -> Asset:
    """An asset of these bytes; its suffix, one of :data:`CONTENT_TYPES`, tells its type."""
    suffix = PurePosixPath(name).suffix
    packed = None if suffix in _UNCOMPRESSED else gzip.compress(body, 6, mtime=0)
    return Asset(
        name=name,
        body=body,
        packed=packed if packed is not None and len(packed) < len(body) else None,
        content_type=CONTENT_TYPES[suffix],
        etag=f'W/"{hashlib.sha256(body).hexdigest()[:32]}"',
    )


class Assets(Struct, frozen=True):
    """Everything that belongs to one release of the dashboard."""

    digest: str
    """Of all files together; a part of their address."""
    files: dict[str, Asset]
    pages: dict[str, Asset]
    """``index.html`` and ``docs.html``, with the addresses of this release filled in."""


def load_assets(folder: Path | None = None) -> Assets:
    """Read the files of the dashboard (about 200 kB). Raises :class:`AssetsMissing`."""
    root = folder or Path(__file__).parent / "assets"
    found = {
        path.name: path.read_bytes()
        for path in sorted(root.glob("*"))
        if path.suffix in CONTENT_TYPES
    }
    if any(page not in found for page in _PAGES) or "app.js" not in found:
        raise AssetsMissing
    digest = _digest(found)
    modules = [name for name in found if name.endswith(".js") and name not in _NOT_PRELOADED]
    return Assets(
        digest=digest,
        files={name: asset(name, body) for name, body in found.items() if name not in _PAGES},
        pages={name: asset(name, _filled(found[name], digest, modules)) for name in _PAGES},
    )


@cache
def swagger_assets() -> dict[str, Asset]:
    """The viewer of API descriptions, read (1.9 MB) when first asked.

    Raises :class:`AssetsMissing` if the installation lacks it.
    """
    root = Path(__file__).parent / "swagger_ui"
    try:
        return {
            name: asset(name, _without_source_map((root / name).read_bytes()))
            for name in _SWAGGER_FILES
        }
    except FileNotFoundError as error:
        raise AssetsMissing(f"the viewer lacks {error.filename}; install Taskyard again") from error


def _without_source_map(body: bytes) -> bytes:
    """Drop the pointer to a map that is not served, lest developer tools complain."""
    head, mark, tail = body.rpartition(b"sourceMappingURL=")
    return head + b"no map" + (b"*/" if tail.rstrip().endswith(b"*/") else b"") if mark else body


def _digest(found: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, body in found.items():
        digest.update(name.encode() + b"\0" + body + b"\0")
    return digest.hexdigest()[:16]


def _filled(page: bytes, digest: str, modules: Iterable[str]) -> bytes:
    """Point a page at this release, and have all modules fetched at once, not level by level."""
    preload = "\n".join(f'<link rel="modulepreload" href="/assets/{name}">' for name in modules)
    text = page.decode().replace("<!-- modules -->", preload)
    return text.replace('"/assets/', f'"/assets/{digest}/').encode()
