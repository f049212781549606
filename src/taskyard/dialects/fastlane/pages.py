"""The page that follows an execution's output in a browser."""

import html
import json
from pathlib import Path
from typing import Final

_PAGE: Final = (Path(__file__).parent / "stream.html").read_text("utf-8")


def stream_page(title: str, path: str) -> bytes:
    """A page that opens the WebSocket at this path (with its prefix, percent-encoded)."""
    # Inside a script element, so that no text can end it.
    escaped = json.dumps(path).replace("<", "\\u003c").replace(">", "\\u003e")
    # The path first: its braces are encoded, so that nothing of it is replaced once more.
    page = _PAGE.replace("{path}", escaped).replace("{title}", html.escape(title))
    return page.encode(errors="replace")
