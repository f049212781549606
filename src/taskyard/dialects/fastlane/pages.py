"""The page that follows an execution's output in a browser."""

import base64
import hashlib
import html
import json
from pathlib import Path
from typing import Final

_PAGE: Final = (Path(__file__).parent / "stream.html").read_text("utf-8")


def page_policy(page: bytes) -> bytes:
    """The policy under which a page runs its own script, and nothing else that ends up in it."""
    script, style = (_hash_of(page, tag) for tag in (b"script", b"style"))
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ).encode()


def _hash_of(page: bytes, tag: bytes) -> str:
    """Of what stands in the one element of this name, as policies name it."""
    content = page.partition(b"<" + tag + b">")[2].partition(b"</" + tag + b">")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


def stream_page(title: str, path: str) -> bytes:
    """A page that opens the WebSocket at this path (with its prefix, percent-encoded)."""
    # Inside a script element, so that no text can end it.
    escaped = json.dumps(path).replace("<", "\\u003c").replace(">", "\\u003e")
    # The path first: its braces are encoded, so that nothing of it is replaced once more.
    page = _PAGE.replace("{path}", escaped).replace("{title}", html.escape(title))
    return page.encode(errors="replace")
