"""Functions: deploy, call, roll back."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
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

    async def __call__(self, request: Request[T]) -> T:
        """The answer."""
        ...


class Pages(Protocol):
    """Sends a call for each page."""

    def __call__(
        self, request: Callable[[str | None], Request[client_models.Page[T]]]
    ) -> AsyncIterator[T]:
        """What is on all pages."""
        ...


class AsyncFunctionClient:
    """What ``AsyncClient.functions`` answers with; raises as every method of the client."""

    def __init__(
        self,
        send: Send,
        send_delete: Callable[[Request[None]], Awaitable[None]],
        pages: Pages,
        send_raw: Callable[[Request[Any], Mapping[str, str]], Awaitable[httpx2.Response]],
    ) -> None:
        self._send = send
        self._send_delete = send_delete
        self._pages = pages
        self._send_raw = send_raw

    async def deploy(
        self, name: str, bundle: bytes | None, *, wait_s: float = 0.0, **members: Any
    ) -> Deployed:
        """Deploy an archive or a file of source, or with None what ``image`` names.

        ``members`` are those of the API.
        """
        return await self._send(requests.deploy(name, bundle, wait_s, members))

    async def list(self, *, deleted: bool = False) -> tuple[Function, ...]:
        """All functions, oldest first."""
        pages = self._pages(lambda cursor: requests.page(cursor, deleted=deleted))
        return tuple([one async for one in pages])

    async def get(self, name: str) -> Function:
        """One function, by name or id."""
        return await self._send(requests.get(name))

    async def versions(self, name: str) -> tuple[FunctionVersion, ...]:
        """All versions, newest first."""
        pages = self._pages(lambda cursor: requests.versions(name, cursor))
        return tuple([one async for one in pages])

    async def version(self, name: str, number: int) -> FunctionVersion:
        """One version."""
        return await self._send(requests.version(name, number))

    async def build_log(self, name: str, version: int) -> str:
        """The log of a build, as far as it is."""
        return await self._send(requests.build_log(name, version))

    async def roll_back(self, name: str, version: int | None = None) -> Function:
        """Let new calls use this version, or the ready one before the live one."""
        return await self._send(requests.roll_back(name, version))

    async def pause(self, name: str) -> Function:
        """Take no more calls."""
        return await self._send(requests.move(name, "pause"))

    async def resume(self, name: str) -> Function:
        """Take calls again."""
        return await self._send(requests.move(name, "resume"))

    async def restore(self, function_id: str) -> Function:
        """Bring a deleted function back."""
        return await self._send(requests.move(function_id, "restore"))

    async def delete(self, name: str) -> None:
        """Delete a function; it can be restored by its id."""
        await self._send_delete(requests.delete(name))

    async def submit(
        self,
        name: str,
        body: bytes = b"",
        *,
        query: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> models.Task:
        """Call without waiting; the task, whose result is there once it has ended."""
        call = requests.invoke(name, body, query, content_type, 0.0)
        return requests.submitted(await self._send_raw(call.request, call.headers))

    async def invoke(
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
        return requests.invoked(await self._send_raw(call.request, call.headers))

    async def result(self, task_id: str) -> Invocation:
        """What an ended call answered."""
        call = requests.result(task_id)
        return requests.answered(await self._send_raw(call.request, call.headers))
