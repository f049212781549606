"""Answers NATS servers that ask whom to let in: workers, by name and secret.

Whichever control plane gets a question answers it. It has a connection of its own, so that those
who knock all the time hold up no messages between control planes. What is let in may use its own
subjects and nothing else, for as long as the signed answer is valid.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import structlog
from anyio.abc import TaskGroup

from taskyard.core.errors import NotAuthenticated, TaskyardError
from taskyard.core.ids import WorkerId
from taskyard.core.instants import SECOND, Instant
from taskyard.ports.clock import Clock
from taskyard.ports.errors import Unreachable
from taskyard.transport.nats.claims import (
    AuthorizationRequest,
    BadClaims,
    Permissions,
    admitting,
    read_request,
    refusing,
    user_claims,
)
from taskyard.transport.nats.connection import nats_connection
from taskyard.transport.nats.nkeys import KeyPair
from taskyard.transport.nats.options import NatsOptions, check_token

SUBJECT: Final = "$SYS.REQ.USER.AUTH"
QUEUE: Final = "taskyard-planes"
ACCOUNT: Final = "TASKYARD"
"""The account of control planes and workers in NATS."""
ANSWER_S: Final = 3600
"""Seconds for which an answer is valid; then NATS closes the connection, and a worker comes again.
What was revoked is cut off at once, and what it sends is refused by control planes in any case."""
AT_ONCE: Final = 16
"""Questions that are answered at the same time."""
WAITING: Final = 512
"""Questions that wait for that; those beyond are not answered, and who was asked about tries again.
"""

Authenticate = Callable[[str, str, str], Awaitable[Instant | None]]
"""Given a name, a secret and the address somebody comes from; answers with when the credential
ends, None for never. Raises ``NotAuthenticated``, or as a store does."""

log = structlog.get_logger(__name__)


def worker_permissions(installation: str, worker_id: WorkerId) -> Permissions:
    """What the worker of this id may do in NATS: ask control planes, be asked, and nothing else."""
    root = f"taskyard.{check_token('installation', installation)}"
    own = check_token("worker_id", worker_id)
    return Permissions(
        # Large payloads are fetched from whoever has them, under keys that nobody can guess.
        publish=(f"{root}.engine.{own}.*", f"{root}.plane.*.pieces"),
        subscribe=(f"{root}.worker.{own}.>",),
    )


class AuthCallout:
    """Decides about connections. Made by :func:`auth_callout`."""

    def __init__(
        self, issuer: KeyPair, installation: str, authenticate: Authenticate, clock: Clock
    ) -> None:
        self._issuer = issuer
        self._installation = installation
        self._authenticate = authenticate
        self._clock = clock

    async def answer(self, token: bytes) -> bytes | None:
        """The answer to a question; None for one that is none. Never raises."""
        try:
            request = read_request(token)
        except BadClaims as error:
            log.warning("nats_question_unreadable", reason=str(error))
            return None
        try:
            return (await self._admitted(request)).encode("ascii")
        except NotAuthenticated as refused:
            reason = str(refused)
        except TaskyardError as error:
            # The store is away. Who is refused now tries again.
            log.warning("worker_not_checked", worker_id=request.connect_opts.user, error=str(error))
            reason = "credentials cannot be checked at the moment"
        return refusing(self._issuer, request, reason, self._now_s()).encode("ascii")

    async def _admitted(self, request: AuthorizationRequest) -> str:
        name, secret = request.connect_opts.user, request.connect_opts.password
        if request.client_info.kind != "Client":
            raise NotAuthenticated("only workers connect here")
        ends_at = await self._authenticate(name, secret, request.client_info.host)
        now_s = self._now_s()
        expires_s = now_s + ANSWER_S
        if ends_at is not None:
            expires_s = max(now_s + 1, min(expires_s, -(-ends_at // SECOND)))
        user = user_claims(
            self._issuer,
            request,
            account=ACCOUNT,
            name=name,
            permissions=worker_permissions(self._installation, WorkerId(name)),
            now_s=now_s,
            expires_s=expires_s,
        )
        log.info("worker_admitted", worker_id=name, address=request.client_info.host)
        return admitting(self._issuer, request, user, now_s)

    def _now_s(self) -> int:
        return self._clock.now() // SECOND


@asynccontextmanager
async def auth_callout(options: NatsOptions, callout: AuthCallout) -> AsyncIterator[None]:
    """Answer while inside, however often the connection is lost.

    Args:
        options: how a control plane connects.
        callout: decides.

    Raises ``NatsUnavailable`` if there is no way to connect.
    """
    places = anyio.CapacityLimiter(AT_ONCE)
    pending = 0
    async with nats_connection(options, "taskyard auth") as connection:

        async def handle(message: Any) -> None:
            nonlocal pending
            try:
                async with places:
                    answer = await callout.answer(message.data)
                if answer is not None and message.reply:
                    await connection.send(message.reply, answer)
            except Unreachable:
                return  # who was asked about tries again
            finally:
                pending -= 1

        def listening(tasks: TaskGroup) -> Callable[[Any], Awaitable[None]]:
            async def on_question(message: Any) -> None:
                nonlocal pending
                if pending >= WAITING:
                    connection.count_dropped("more connections are made than can be checked")
                    return
                pending += 1
                tasks.start_soon(handle, message)

            return on_question

        async with anyio.create_task_group() as tasks:
            await connection.subscribe(SUBJECT, listening(tasks), QUEUE)
            await connection.first()
            tasks.start_soon(connection.stay_connected)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
