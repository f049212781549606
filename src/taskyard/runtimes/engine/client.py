"""The engine's HTTP API, as far as it is needed: version 1.41 of Docker's, which Podman speaks too.

Over httpx2, see ADR 0011: Unix sockets, TCP and TLS; nothing here reads the environment.
"""

import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import anyio
import httpcore2
import httpx2
import msgspec

from taskyard.runtimes.engine.address import EngineAddress
from taskyard.runtimes.engine.connection_errors import told
from taskyard.runtimes.engine.errors import EngineRefused, EngineUnreachable
from taskyard.runtimes.engine.log_stream import answered
from taskyard.runtimes.engine.tls_sockets import END_WRITING, TlsBackend
from taskyard.runtimes.engine.transport import PoolTransport
from taskyard.runtimes.engine.unix_sockets import UnixBackend

_API: Final = "/v1.41"
_PING: Final = "/_ping"
"""Answered at once. Of its version Podman asks programs, and the system's packages where it finds
them: 0.3 s of processor time on Debian."""
_PODMAN: Final = "Libpod-API-Version"
"""A header that Podman adds to that answer."""
_CONNECT_S: Final = 5.0
_ANSWER_S: Final = 120.0
"""Engines under load take their time, above all to remove containers."""
_KNOCK_S: Final = 10.0
_PROMPT_S: Final = 4.0
"""An engine that takes longer for a sign of life is slow, or gone without a word."""
_PATIENCE_S: Final = 30.0
"""One that takes longer is of no use, even if it is there."""
_READ_BYTES: Final = 1 << 18
_FINE: Final = frozenset({200, 201, 204, 304})
_LONGEST_LINE: Final = 1 << 20
_KEEP_ALIVE: Final = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]


class Attachment:
    """A connection to the three streams of a container."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def read(self) -> bytes:
        """Some frames; empty at the end, which does not mean that the container has ended.

        Raises :class:`EngineUnreachable`.
        """
        try:
            data: bytes = await self._stream.read(_READ_BYTES)
        except (httpcore2.NetworkError, httpcore2.TimeoutException, OSError) as error:
            raise EngineUnreachable(f"the attachment broke: {error!r}") from error
        return data

    async def give(self, data: bytes) -> None:
        """Write all of the standard input, and end it. Raises :class:`EngineUnreachable`."""
        try:
            for start in range(0, len(data), _READ_BYTES):
                await self._stream.write(data[start : start + _READ_BYTES])
            if (end_writing := self._stream.get_extra_info(END_WRITING)) is not None:
                await end_writing()
                return
            own = self._stream.get_extra_info("socket")
            # A duplicate, as what an event loop calls a socket need not know shutdown.
            with socket.socket(fileno=socket.dup(own.fileno())) as twin:
                twin.shutdown(socket.SHUT_WR)
        except (httpcore2.NetworkError, httpcore2.TimeoutException, OSError) as error:
            raise EngineUnreachable(f"standard input was not taken: {error!r}") from error


class EngineClient:
    """Calls one engine. Belongs to one event loop; :meth:`close` ends all its connections."""

    def __init__(self, address: EngineAddress, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self._tls = tls
        if tls is None and address.is_secure:
            self._tls = ssl.create_default_context()
        self._http = self._client()

    def _client(self) -> httpx2.AsyncClient:
        limits = httpx2.Limits(
            max_connections=None, max_keepalive_connections=16, keepalive_expiry=5
        )
        if self.address.socket is not None:
            transport = PoolTransport(UnixBackend(), limits, socket_path=self.address.socket)
        else:
            transport = PoolTransport(
                TlsBackend(), limits, tls=self._tls, socket_options=_KEEP_ALIVE
            )
        return httpx2.AsyncClient(
            transport=transport,
            base_url=(self.address.url or "http://engine") + _API,
            timeout=httpx2.Timeout(_ANSWER_S, connect=_CONNECT_S),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """One request, its answer decoded; None if that is empty.

        Raises:
            EngineUnreachable: nobody knows whether it was done.
            EngineRefused: it was not.
        """
        return _decoded((await self._answer(method, path, body, params)).content)

    async def _answer(
        self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        try:
            answer = await self._http.request(method, path, json=body, params=params)
        except (httpx2.TransportError, OSError) as error:
            raise EngineUnreachable(
                f"{self.address} does not answer: {self._told(error)}"
            ) from error
        if answer.status_code not in _FINE:
            raise _refused(answer.status_code, answer.content)
        return answer

    async def put(self, container: str, archive: bytes) -> None:
        """Unpack a tar archive at the root of a container. Raises like :meth:`call`."""
        path, params = f"/containers/{container}/archive", {"path": "/"}
        headers = {"Content-Type": "application/x-tar"}
        try:
            answer = await self._http.put(path, params=params, content=archive, headers=headers)
        except (httpx2.TransportError, OSError) as error:
            raise EngineUnreachable(
                f"{self.address} does not answer: {self._told(error)}"
            ) from error
        if answer.status_code not in _FINE:
            raise _refused(answer.status_code, answer.content)

    async def ping(self) -> None:
        """Return once the engine answers, however slow it is. Raises like :meth:`call`."""
        await self._ping()

    async def _ping(self) -> Mapping[str, str]:
        """What it says of itself. It may take its time if it takes connections. Raises like
        :meth:`call`.
        """
        with anyio.move_on_after(_PROMPT_S):
            return (await self._answer("GET", _PING)).headers
        # On a connection that was open before nobody can tell a slow one from one that is gone.
        await self._connect()
        with anyio.move_on_after(_PATIENCE_S):
            return (await self._answer("GET", _PING)).headers
        raise EngineUnreachable(
            f"{self.address} takes connections, but does not answer within {_PATIENCE_S:g} s"
        )

    async def _connect(self) -> None:
        """Return if it takes connections. Raises :class:`EngineUnreachable`."""
        url = urlsplit(self.address.url or "")
        try:
            if self.address.socket is not None:
                stream = await UnixBackend().connect_unix_socket(self.address.socket, _CONNECT_S)
            else:
                stream = await TlsBackend().connect_tcp(
                    url.hostname or "", url.port or 0, _CONNECT_S
                )
        except (httpcore2.NetworkError, httpcore2.TimeoutException, OSError) as error:
            raise EngineUnreachable(
                f"{self.address} does not answer: {self._told(error)}"
            ) from error
        await stream.aclose()

    async def probe(self) -> None:
        """Return if the engine takes new connections. Raises :class:`EngineUnreachable`.

        One that is about to stop takes none any more, while it goes on answering on those it has
        and ends its containers.
        """
        async with self._client() as client:
            try:
                await client.get(_PING, timeout=_KNOCK_S)
            except (httpx2.TransportError, OSError) as error:
                raise EngineUnreachable(
                    f"{self.address} does not answer: {self._told(error)}"
                ) from (error)

    async def is_podman(self) -> bool:
        """Whether it is Podman. Raises like :meth:`call`."""
        return _PODMAN in await self._ping()

    async def inspect(self, container: str) -> dict[str, Any] | None:
        """All about a container; None if there is none. Raises like :meth:`call`."""
        try:
            found: dict[str, Any] = await self.call("GET", f"/containers/{container}/json")
        except EngineRefused as error:
            if error.status == 404:
                return None
            raise
        return found

    async def has_image(self, image: str) -> bool:
        """Whether it has an image by this name or id. Raises like :meth:`call`."""
        try:
            await self.call("GET", f"{image_path(image)}/json")
        except EngineRefused as error:
            if error.status == 404:
                return False
            raise
        return True

    async def containers(self, label: str) -> list[dict[str, Any]]:
        """Every container with a label, ``NAME=VALUE``. Raises like :meth:`call`."""
        params = {"all": "1", "filters": _filters(label=[label])}
        found: list[dict[str, Any]] = await self.call("GET", "/containers/json", params=params)
        return found or []

    async def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes; gone already is fine.

        Raises like :meth:`call`.
        """
        try:
            await self.call("DELETE", f"/containers/{container}", params={"force": "1", "v": "1"})
        except EngineRefused as error:
            if error.status != 404:
                raise

    @asynccontextmanager
    async def attached(self, container: str, *, stdin: bool) -> AsyncIterator[Attachment]:
        """An attachment to everything the container says from now on. Raises like :meth:`call`."""
        params = {"stream": "1", "stdout": "1", "stderr": "1"} | ({"stdin": "1"} if stdin else {})
        upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"}
        path = f"/containers/{container}/attach"
        async with self._streamed("POST", path, params, headers=upgrade) as answer:
            stream = answer.extensions.get("network_stream")
            if answer.status_code != 101 or stream is None:
                raise EngineRefused(
                    answer.status_code, "the engine does not let itself be attached"
                )
            yield Attachment(stream)

    @asynccontextmanager
    async def log(self, container: str, *, follow: bool) -> AsyncIterator[AsyncIterator[bytes]]:
        """The container's log from its beginning. Raises like :meth:`call`, also when iterated."""
        query = f"stdout=1&stderr=1&follow={int(follow)}"
        target = f"{_API}/containers/{quote(container, safe='')}/logs?{query}"
        async with answered(self.address, self._tls, target) as answer:
            if answer.status not in _FINE:
                raise _refused(answer.status, await answer.error())
            yield answer.pieces()

    @asynccontextmanager
    async def events(self, label: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Events of containers with a label. Raises like :meth:`call`, also when iterated."""
        params = {"filters": _filters(type=["container"], label=[label])}
        async with self._streamed("GET", "/events", params) as answer:
            yield self._objects(answer)

    @asynccontextmanager
    async def pulling(
        self, repository: str, version: str, auth: str | None
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Progress of a pull. Raises like :meth:`call`, also when iterated."""
        params = {"fromImage": repository, "tag": version}
        headers = {} if auth is None else {"X-Registry-Auth": auth}
        async with self._streamed("POST", "/images/create", params, headers=headers) as answer:
            yield self._objects(answer)

    @asynccontextmanager
    async def _streamed(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        timeout = httpx2.Timeout(None, connect=_CONNECT_S)
        request = self._http.build_request(
            method, path, params=params, headers=headers, timeout=timeout
        )
        try:
            answer = await self._http.send(request, stream=True)
        except (httpx2.TransportError, OSError) as error:
            raise EngineUnreachable(
                f"{self.address} does not answer: {self._told(error)}"
            ) from error
        try:
            if answer.status_code not in {*_FINE, 101}:
                try:
                    content = await answer.aread()
                except (httpx2.TransportError, OSError) as error:
                    raise EngineUnreachable(
                        f"{self.address} broke off: {self._told(error)}"
                    ) from error
                raise _refused(answer.status_code, content)
            yield answer
        finally:
            with anyio.CancelScope(shield=True):
                await answer.aclose()

    def _told(self, error: Exception) -> str:
        return told(error, secure=self.address.is_secure)

    async def _guarded(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for piece in pieces:
                yield piece
        except (httpx2.TransportError, OSError) as error:
            raise EngineUnreachable(f"{self.address} broke off: {self._told(error)}") from error

    async def _objects(self, answer: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
        rest = b""
        async for piece in self._guarded(answer.aiter_raw()):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    yield _object(line)
            if len(rest) > _LONGEST_LINE:
                raise EngineUnreachable(f"{self.address} sends a line without end")
        if rest.strip():
            yield _object(rest)


def image_path(image: str) -> str:
    """The path of an image in the API."""
    return f"/images/{quote(image, safe='/:@')}"


def _filters(**members: list[str]) -> str:
    return msgspec.json.encode(members).decode()


def _object(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise EngineUnreachable(f"the engine does not make sense: {error}") from error


def _decoded(content: bytes) -> Any:
    if not content.strip():
        return None
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        # Some answers, such as that to a pull, are several objects; nobody asks for them here.
        return None


def _refused(status: int, content: bytes) -> EngineRefused:
    message = cause = ""
    try:
        found = msgspec.json.decode(content)
        if isinstance(found, dict):
            cause = str(found.get("cause") or "")
            message = str(found.get("message") or found.get("cause") or "")
    except msgspec.DecodeError:
        message = content[:500].decode(errors="replace")
    return EngineRefused(status, message.strip() or f"the engine answered {status}", cause)
