# Made by tools/unasync.py from taskyard/sdk/aio/functions.py: change that file instead.
"""Functions: deploy, call, roll back."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import httpx2

from taskyard.sdk import client_models, models
from taskyard.sdk import function_requests as requests
from taskyard.sdk.function_requests import Invocation
from taskyard.sdk.models import Deployed, Function, FunctionVersion
from taskyard.sdk.requests import Request

T = TypeVar("T")


class Send(Protocol):
    """Sends a call and reads its answer."""

    def __call__(self, request: Request[T]) -> T:
        """The answer."""
        ...


class Pages(Protocol):
    """Sends a call for each page."""

    def __call__(
        self, request: Callable[[str | None], Request[client_models.Page[T]]]
    ) -> Iterator[T]:
        """What is on all pages."""
        ...


class FunctionClient:
    """What ``Client.functions`` answers with; raises as every method of the client."""

    def __init__(
        self,
        send: Send,
        send_delete: Callable[[Request[None]], None],
        pages: Pages,
        send_raw: Callable[[Request[Any], Mapping[str, str]], httpx2.Response],
    ) -> None:
        self._send = send
        self._send_delete = send_delete
        self._pages = pages
        self._send_raw = send_raw

    def deploy(
        self, name: str, bundle: bytes | None, *, wait_s: float = 0.0, **members: Any
    ) -> Deployed:
        """Deploy an archive or a file of source, or with None what ``image`` names.

        ``members`` are those of the API.
        """
        return self._send(requests.deploy(name, bundle, wait_s, members))

    def list(self, *, deleted: bool = False) -> tuple[Function, ...]:
        """All functions, oldest first."""
        pages = self._pages(lambda cursor: requests.page(cursor, deleted=deleted))
        return tuple(pages)

    def get(self, name: str) -> Function:
        """One function, by name or id."""
        return self._send(requests.get(name))

    def versions(self, name: str) -> tuple[FunctionVersion, ...]:
        """All versions, newest first."""
        pages = self._pages(lambda cursor: requests.versions(name, cursor))
        return tuple(pages)

    def version(self, name: str, number: int) -> FunctionVersion:
        """One version."""
        return self._send(requests.version(name, number))

    def build_log(self, name: str, version: int) -> str:
        """The log of a build, as far as it is."""
        return self._send(requests.build_log(name, version))

    def roll_back(self, name: str, version: int | None = None) -> Function:
        """Let new calls use this version, or the ready one before the live one."""
        return self._send(requests.roll_back(name, version))

    def pause(self, name: str) -> Function:
        """Take no more calls."""
        return self._send(requests.move(name, "pause"))

    def resume(self, name: str) -> Function:
        """Take calls again."""
        return self._send(requests.move(name, "resume"))

    def restore(self, function_id: str) -> Function:
        """Bring a deleted function back."""
        return self._send(requests.move(function_id, "restore"))

    def delete(self, name: str) -> None:
        """Delete a function; it can be restored by its id."""
        self._send_delete(requests.delete(name))

    def submit(
        self,
        name: str,
        body: bytes = b"",
        *,
        query: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> models.Task:
        """Call without waiting; the task, whose result is there once it has ended."""
        call = requests.invoke(name, body, query, content_type, 0.0)
        return requests.submitted(self._send_raw(call.request, call.headers))

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
        call = requests.invoke(name, body, query, content_type, wait_s)
        return requests.invoked(self._send_raw(call.request, call.headers))

    def result(self, task_id: str) -> Invocation:
        """What an ended call answered."""
        call = requests.result(task_id)
        return requests.answered(self._send_raw(call.request, call.headers))
