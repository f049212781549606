"""Functions through the synchronous client."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import httpx

from taskyard.sdk import functions, models
from taskyard.sdk.calls import Call
from taskyard.sdk.functions import Deployed, Function, Invocation, Version

T = TypeVar("T")


class Send(Protocol):
    """Sends a call and reads its answer."""

    def __call__(self, call: Call[T]) -> T:
        """The answer."""
        ...


class Walk(Protocol):
    """Sends a call for each page."""

    def __call__(self, call: Callable[[str | None], Call[models.Page[T]]]) -> Iterator[T]:
        """What is on all pages."""
        ...


class FunctionClient:
    """What ``Client.functions`` answers with. Raises as every method of the client."""

    def __init__(
        self,
        send: Send,
        remove: Callable[[Call[None]], None],
        walk: Walk,
        ask: Callable[[Call[Any], Mapping[str, str]], httpx.Response],
    ) -> None:
        self._send = send
        self._remove = remove
        self._walk = walk
        self._ask = ask

    def deploy(
        self, name: str, bundle: bytes | None, *, wait_s: float = 0.0, **members: Any
    ) -> Deployed:
        """Deploy an archive or a file of source, or with None what ``image`` names.

        ``members`` are those of the API.
        """
        return self._send(functions.deploy(name, bundle, wait_s, members))

    def list(self, *, deleted: bool = False) -> tuple[Function, ...]:
        """All functions, oldest first."""
        return tuple(self._walk(lambda cursor: functions.page(cursor, deleted=deleted)))

    def get(self, name: str) -> Function:
        """One function, by name or id."""
        return self._send(functions.get(name))

    def versions(self, name: str) -> tuple[Version, ...]:
        """All versions, newest first."""
        return tuple(self._walk(lambda cursor: functions.versions(name, cursor)))

    def version(self, name: str, number: int) -> Version:
        """One version."""
        return self._send(functions.version(name, number))

    def build_log(self, name: str, version: int) -> str:
        """The log of a build, as far as it is."""
        return self._send(functions.build_log(name, version))

    def roll_back(self, name: str, version: int | None = None) -> Function:
        """Let new calls use this version, or the ready one before the live one."""
        return self._send(functions.roll_back(name, version))

    def pause(self, name: str) -> Function:
        """Take no more calls."""
        return self._send(functions.move(name, "pause"))

    def resume(self, name: str) -> Function:
        """Take calls again."""
        return self._send(functions.move(name, "resume"))

    def restore(self, function_id: str) -> Function:
        """Bring a deleted function back."""
        return self._send(functions.move(function_id, "restore"))

    def delete(self, name: str) -> None:
        """Delete a function; it can be restored by its id."""
        self._remove(functions.delete(name))

    def submit(
        self,
        name: str,
        body: bytes = b"",
        *,
        query: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> models.Task:
        """Call without waiting; the task, whose result is there once it has ended."""
        question = functions.invoke(name, body, query, content_type, 0.0)
        return functions.submitted(self._ask(question.call, question.headers))

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
        question = functions.invoke(name, body, query, content_type, wait_s)
        return functions.invoked(self._ask(question.call, question.headers))

    def result(self, task_id: str) -> Invocation:
        """What an ended call answered."""
        question = functions.result(task_id)
        return functions.answered(self._ask(question.call, question.headers))
