"""Functions as the client sees them."""

import base64
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

import httpx
import msgspec
from msgspec import Struct

from taskyard.sdk import models
from taskyard.sdk.calls import BASE, MAX_WAIT_S, Call
from taskyard.sdk.errors import Unreadable
from taskyard.sdk.exchange import check

T = TypeVar("T")
TASK_HEADER = "taskyard-task-id"
_PROBLEM = "application/problem+json"


class FunctionLimits(Struct, frozen=True):
    """What one call may take."""

    timeout_s: float
    cpu: float | None = None
    memory: int | None = None
    privileged: bool = False


class Function(Struct, frozen=True):
    """A function."""

    id: str
    name: str
    language: str
    limits: FunctionLimits
    live_version: int | None = None
    last_version: int = 0
    paused: bool = False
    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    group: str = ""
    created_at: datetime | None = None
    deleted_at: datetime | None = None


class Version(Struct, frozen=True):
    """One deployed state of a function's code."""

    number: int
    state: str
    live: bool
    language: str
    size_bytes: int
    bundle: str
    message: str | None = None
    created_at: datetime | None = None
    created_by: str = ""
    finished_at: datetime | None = None
    image: str | None = None
    digest: str | None = None


class Deployed(Struct, frozen=True):
    """The function, and its new version."""

    function: Function
    version: Version


class Invocation(Struct, frozen=True):
    """What a function answered."""

    task_id: str
    status: int
    headers: dict[str, str]
    body: bytes


class Send(Protocol):
    """Sends a call and reads its answer."""

    def __call__(self, call: Call[T]) -> T:
        """The answer."""
        ...


def _reader(kind: Any) -> Callable[[bytes], Any]:
    def read(body: bytes) -> Any:
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreadable(f"the answer is not what the API promises: {error}") from error

    return read


def _function(body: bytes) -> Function:
    function: Function = _reader(Function)(body)
    return function


def _path(name: str, rest: str = "") -> str:
    return f"{BASE}/functions/{quote(name, safe='')}{rest}"


class Functions:
    """What ``Client.functions`` answers with. Raises as every method of the client."""

    def __init__(
        self,
        send: Send,
        remove: Callable[[Call[None]], None],
        answer: Callable[[Call[Any], Mapping[str, str]], httpx.Response],
    ) -> None:
        self._send = send
        self._remove = remove
        self._answer = answer

    def deploy(
        self, name: str, bundle: bytes | None, *, wait_s: float = 0.0, **members: Any
    ) -> Deployed:
        """Deploy an archive or a file of source, or with None what ``image`` names.

        ``members`` are those of the API.
        """
        given = {key: value for key, value in members.items() if value is not None}
        if bundle is not None:
            given["archive"] = base64.b64encode(bundle).decode()
        body = msgspec.json.encode(given)
        wait_s = min(wait_s, MAX_WAIT_S)
        call: Call[Deployed] = Call(
            "PUT",
            _path(name),
            _reader(Deployed),
            {"wait": f"{wait_s:g}s"},
            body,
            repeatable=False,
            extra_s=wait_s,
        )
        return self._send(call)

    def list(self, *, deleted: bool = False) -> tuple[Function, ...]:
        """All functions, oldest first."""
        found: list[Function] = []
        cursor: str | None = None
        while True:
            call: Call[models.Page[Function]] = Call(
                "GET",
                f"{BASE}/functions",
                _reader(models.Page[Function]),
                {"cursor": cursor, "limit": 500, "deleted": "true" if deleted else None},
            )
            page = self._send(call)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                return tuple(found)

    def get(self, name: str) -> Function:
        """One function, by name or id."""
        return self._send(Call("GET", _path(name), _function))

    def versions(self, name: str, limit: int = 100) -> tuple[Version, ...]:
        """The newest versions, newest first."""
        read = _reader(models.Page[Version])
        call: Call[models.Page[Version]] = Call(
            "GET", _path(name, "/versions"), read, {"limit": limit}
        )
        return tuple(self._send(call).items)

    def build_log(self, name: str, version: int) -> str:
        """The log of a build, as far as it is."""
        path = _path(name, f"/versions/{version}/log")
        return self._send(Call("GET", path, lambda body: body.decode("utf-8", "replace")))

    def roll_back(self, name: str, version: int | None = None) -> Function:
        """Let new calls use an earlier version."""
        body = msgspec.json.encode({"version": version})
        return self._send(Call("POST", _path(name, "/rollback"), _function, body=body))

    def pause(self, name: str) -> Function:
        """Take no more calls."""
        return self._send(Call("POST", _path(name, "/pause"), _function))

    def resume(self, name: str) -> Function:
        """Take calls again."""
        return self._send(Call("POST", _path(name, "/resume"), _function))

    def delete(self, name: str) -> None:
        """Delete a function; it can be restored by its id."""
        self._remove(Call("DELETE", _path(name), lambda _body: None))

    def restore(self, function_id: str) -> Function:
        """Bring a deleted function back."""
        return self._send(Call("POST", _path(function_id, "/restore"), _function))

    def submit(
        self,
        name: str,
        body: bytes = b"",
        *,
        query: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> models.Task:
        """Call without waiting; the task, whose result is there once it has ended."""
        answer = self._call(name, body, query, content_type, 0.0)
        check(answer)
        task: models.Task = _reader(models.Task)(answer.content)
        return task

    def invoke(
        self,
        name: str,
        body: bytes = b"",
        *,
        query: Mapping[str, str] | None = None,
        content_type: str | None = None,
        wait_s: float = 30.0,
    ) -> Invocation | models.Task:
        """Call and wait; what the function answered, or the task if that takes longer."""
        answer = self._call(name, body, query, content_type, wait_s)
        if answer.headers.get("content-type", "").startswith(_PROBLEM):
            check(answer)
        if answer.status_code == 202 and "location" in answer.headers:
            task: models.Task = _reader(models.Task)(answer.content)
            return task
        return _invocation(answer)

    def result(self, task_id: str) -> Invocation:
        """What an ended call answered."""
        path = f"{BASE}/tasks/{quote(task_id, safe='')}/result"
        answer = self._answer(Call("GET", path, lambda body: body), {})
        if answer.headers.get("content-type", "").startswith(_PROBLEM):
            check(answer)
        return _invocation(answer)

    def _call(
        self,
        name: str,
        body: bytes,
        query: Mapping[str, str] | None,
        content_type: str | None,
        wait_s: float,
    ) -> httpx.Response:
        wait_s = min(wait_s, MAX_WAIT_S)
        asked = {"wait": f"{wait_s:g}s", "query": urlencode(query) if query else None}
        fields = {"idempotency-key": f"sdk-{uuid4().hex}"}
        if content_type is not None:
            fields["content-type"] = content_type
        call: Call[bytes] = Call(
            "POST", _path(name, "/calls"), lambda data: data, dict(asked), body, extra_s=wait_s
        )
        return self._answer(call, fields)


def _invocation(answer: httpx.Response) -> Invocation:
    fields = {name.lower(): value for name, value in answer.headers.items()}
    return Invocation(fields.get(TASK_HEADER, ""), answer.status_code, fields, answer.content)
