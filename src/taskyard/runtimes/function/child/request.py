"""What a handler gets, and what becomes of what it answers."""

import json
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import parse_qsl

PROGRESS_S: Final = 0.25
"""Seconds between two reports of progress, at least."""
TEXT_MAX: Final = 500
_RESPONSE: Final = frozenset({"statusCode", "headers", "body"})


class Unusable(Exception):
    """A handler answered with something that is no answer."""


class Headers(dict[str, str]):
    """Header fields by lower-case name, looked up in any letter case; repeated ones are joined."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__()
        for name, value in pairs:
            key = name.lower()
            self[key] = f"{dict.__getitem__(self, key)}, {value}" if key in self else value

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or the default."""
        return super().get(name.lower(), default)


class Request:
    """One call, as its handler sees it."""

    __slots__ = ("_report", "_reported", "body", "header_list", "meta", "query_string")

    def __init__(
        self, header: dict[str, Any], body: bytes, report: Callable[[dict[str, Any]], None]
    ) -> None:
        self.meta = header
        self.body = body
        self.query_string: str = header.get("query", "")
        self.header_list: list[tuple[str, str]] = header.get("headers") or []
        self._report = report
        self._reported: float | None = None

    @property
    def headers(self) -> Headers:
        """Header fields, looked up without regard to letter case."""
        return Headers(self.header_list)

    @property
    def method(self) -> str:
        """The HTTP method, such as ``POST``."""
        return str(self.meta.get("method", "POST"))

    @property
    def host(self) -> str:
        """What the caller called the server."""
        return str(self.meta.get("host", ""))

    @property
    def path(self) -> str:
        """Always ``/``."""
        return "/"

    @property
    def id(self) -> str:
        """The attempt's id."""
        return str(self.meta.get("id", ""))

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.decode()

    @property
    def query_all(self) -> dict[str, list[str]]:
        """The decoded values of each decoded name."""
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.query_string, keep_blank_values=True):
            found.setdefault(name, []).append(value)
        return found

    @property
    def query(self) -> dict[str, str]:
        """The first decoded value of each decoded name."""
        return {name: values[0] for name, values in self.query_all.items()}

    def json(self) -> Any:
        """The body read as JSON; None if it is empty. Raises ``ValueError``."""
        return json.loads(self.body) if self.body else None

    def progress(self, fraction: float, text: str | None = None) -> None:
        """Tell how far the call is: 0 to 1, and a few words. What comes too fast is left out."""
        fraction = min(1.0, max(0.0, float(fraction)))
        now = time.monotonic()
        if self._reported is not None and now < self._reported + PROGRESS_S and fraction < 1.0:
            return
        self._reported = now
        shown = None if text is None else str(text)[:TEXT_MAX]
        self._report({"progress": fraction, "text": shown})


class Context:
    """What a handler with two arguments gets beside the event."""

    __slots__ = ("_request", "function_id", "hostname", "node", "task_id", "timeout")

    def __init__(self, request: Request) -> None:
        self._request = request
        meta = request.meta
        self.task_id: str = meta.get("task", "")
        self.function_id: str = meta.get("function", "")
        self.node: str = meta.get("node", "")
        self.hostname = socket.gethostname()
        self.timeout: float | None = meta.get("timeout_s")

    def progress(self, percent: float) -> None:
        """Tell how far the call is, from 0 to 100."""
        self._request.progress(percent / 100)


Answer = tuple[int, list[list[str]], bytes]


def answer_of(value: Any) -> Answer:
    """``(status, headers, body)`` of what a handler returned. Raises ``Unusable``."""
    if isinstance(value, tuple):
        if len(value) != 3:
            raise Unusable("a tuple has to be (status, headers, body)")
        return _checked(*value)
    if isinstance(value, dict) and _is_response(value):
        return _checked(value.get("statusCode", 200), value.get("headers"), value.get("body"))
    for name in ("status", "status_code"):
        if hasattr(value, name) and hasattr(value, "headers") and hasattr(value, "body"):
            return _checked(getattr(value, name), value.headers, value.body)
    return _checked(200, None, value)


def _is_response(value: dict[Any, Any]) -> bool:
    return not _RESPONSE.isdisjoint(value)


def _checked(status: Any, headers: Any, body: Any) -> Answer:
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise Unusable(f"the status has to be a number from 200 to 599, not {status!r:.100}")
    pairs = _pairs(headers)
    content, kind = _encoded(body)
    if kind is not None and not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.insert(0, ["content-type", kind])
    return status, pairs, content


def _pairs(headers: Any) -> list[list[str]]:
    if headers is None:
        return []
    items = headers.items() if hasattr(headers, "items") else headers
    pairs: list[list[str]] = []
    try:
        for name, value in items:
            values = value if isinstance(value, (list, tuple)) else (value,)
            pairs += [[_field(name), _field(one)] for one in values]
    except (TypeError, ValueError) as error:
        raise Unusable(f"the headers are unusable: {error}") from error
    return pairs


def _field(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value).decode("latin-1")
    if not isinstance(value, (str, int, float)):
        raise Unusable(f"a header is text, not {type(value).__name__}")
    text = str(value)
    if any(letter in text for letter in "\r\n\0"):
        raise Unusable("a header contains a line break")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise Unusable("a header contains letters that no header can carry") from None
    return text


def _encoded(body: Any) -> tuple[bytes, str | None]:
    if body is None:
        return b"", None
    if isinstance(body, str):
        try:
            return body.encode(), "text/plain; charset=utf-8"
        except UnicodeEncodeError:
            raise Unusable("the text is not valid Unicode") from None
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body), "application/octet-stream"
    try:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode(), "application/json"
    except (TypeError, ValueError, RecursionError) as error:
        raise Unusable(f"a {type(body).__name__} cannot be answered with: {error}") from None
