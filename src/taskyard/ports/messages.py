"""The message port: what the control planes of one installation say to one another.

Any message may be lost, arrive twice, late, or in another order than it was sent. So nothing may
depend on one: the store holds what is true, whoever is woken by a message reads it there, and
somebody looks again after a while anyhow. Handlers have to be idempotent.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from taskyard.core.ids import PlaneId, WorkerId

LEADER: Final = PlaneId("@leader")
"""Stands for the control plane that leads, whichever it is; no plane is named like that."""
MOST_BYTES: Final = 64 << 20
"""Largest payload of a request and of an answer."""
MOST_PUBLISHED_BYTES: Final = 256 << 10
"""Largest published message."""

Handler = Callable[[bytes], Awaitable[bytes]]
"""Answers a request. A ``TaskyardError`` is raised at the requester too, by its kind."""
WorkerHandler = Callable[[WorkerId, str, bytes], Awaitable[bytes]]
"""Answers a request of a worker: which one, what for, and with what."""
MessageListener = Callable[[bytes], None]
"""Takes a published message; returns quickly and never raises."""


class Messages(Protocol):
    """One control plane's connection to the others."""

    @property
    def plane_id(self) -> PlaneId:
        """This plane."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        ...

    def publish(self, what: str, payload: bytes) -> None:
        """Tell all other planes, without waiting; nothing is sent while not connected.

        Messages of more than ``MOST_PUBLISHED_BYTES`` are refused.

        Args:
            what: a word, such as ``changes``.
            payload: what the listeners get.

        Raises:
            PayloadTooLarge: publish that there is something to read instead.
        """
        ...

    def listen(self, what: str, listener: MessageListener) -> None:
        """Have a listener take what other planes publish under this word."""
        ...

    async def request(self, to: PlaneId, what: str, payload: bytes, timeout_s: float) -> bytes:
        """Ask one plane, or ``LEADER``; also this plane itself. Answers with what its handler did.

        After ``Unreachable`` or ``TimedOut`` nobody knows whether the request was heard.

        Args:
            to: whom.
            what: what for; the word that its handler is served under.
            payload: what the handler gets.
            timeout_s: seconds until it is given up; the handler is cancelled then as well.

        Raises:
            Unreachable: there is no such plane, it does not serve this, or we are not connected.
            TimedOut: no answer came in time.
            Overloaded: the plane handles as many requests as it can.
            PayloadTooLarge: the payload or the answer is larger than ``MOST_BYTES``.
            TaskyardError: whatever the handler raised.
        """
        ...

    def serve(self, what: str, handler: Handler) -> None:
        """Have a handler answer requests to this plane, and to the leader while this one leads."""
        ...

    def leading(self) -> AbstractAsyncContextManager[None]:
        """Take requests to ``LEADER`` while inside."""
        ...


class WorkerMessages(Protocol):
    """What a control plane and the workers on other machines say to one another.

    The same holds as for messages between planes. Who asks is what the wire vouches for: nothing
    in a payload says so.
    """

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        ...

    @property
    def room_bytes(self) -> int:
        """Largest payload that is one message; more takes several round trips."""
        ...

    async def ask_worker(
        self, worker_id: WorkerId, what: str, payload: bytes, timeout_s: float
    ) -> bytes:
        """Ask a worker. Raises as :meth:`Messages.request`."""
        ...

    async def serve_workers(
        self, handler: WorkerHandler, words: Sequence[str], own_words: Sequence[str] = ()
    ) -> None:
        """Have a handler answer what workers ask for; it is cancelled when they have given up.

        Args:
            handler: answers.
            words: what for; each of these requests reaches one of all planes.
            own_words: the same of requests that reach this plane only: they are made as
                ``WORD-PLANE``, with the plane's id.
        """
        ...

    async def leave_workers(self) -> None:
        """Answer nothing that workers ask any more; other planes do."""
        ...


class PlaneMessages(Protocol):
    """The same from a worker's side: its connection to the control planes."""

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        ...

    @property
    def refused_at(self) -> float | None:
        """When connections were refused everywhere, last; None if never.

        In seconds since the machine was started. Then nobody reached anybody.
        """
        ...

    @property
    def room_bytes(self) -> int:
        """Largest payload that is one message; more takes several round trips."""
        ...

    async def ask_planes(self, what: str, payload: bytes, timeout_s: float) -> bytes:
        """Ask any control plane. Raises as :meth:`Messages.request`."""
        ...

    def serve(self, what: str, handler: Handler) -> None:
        """Have a handler answer requests to this worker."""
        ...
