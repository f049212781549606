"""Pools as an operator writes them down, and the workers that their hosts become."""

import re
from collections.abc import Sequence
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from taskyard.core.errors import InvalidInput
from taskyard.core.ids import WorkerId
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.pools import Pool

LOCAL: Final = "local"
"""The host that stands for the server's own worker."""
_WITH_PORT: Final = frozenset({"tcp", "http", "https"})
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+")

Host = Annotated[str, Meta(min_length=1, max_length=255)]


class PoolSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[pools]]`` of the file. Documented in ``docs/reference/settings.md``."""

    match: Annotated[str, Meta(max_length=255)] = ""
    """Regular expression that a group has to match from its start; empty matches all."""
    hosts: Annotated[tuple[Host, ...], Meta(min_length=1, max_length=1000)]
    """Engines: ``tcp://HOST:PORT``, ``https://HOST:PORT``, ``unix:///PATH``, or ``local``."""
    max_running: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Containers of the pool that run at once; no limit when None."""
    slots: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    """Attempts that each of its engines runs at once; found out from the engine when None."""
    cpu: Annotated[float, Meta(ge=0.01, le=10_000)] | None = None
    """Cores that each of its engines offers; found out from the engine when None."""
    memory_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 50)] | None = None
    """Memory that each of its engines offers; found out from the engine when None."""

    tags: tuple[Annotated[str, Meta(min_length=1, max_length=255)], ...] = ()
    """What placement policies can ask for."""

    def capacity(self, found: Capacity) -> Capacity:
        """What is set here, and for the rest what was found."""
        return Capacity(
            self.slots if self.slots is not None else found.slots,
            round(self.cpu * 1000) if self.cpu is not None else found.cpu_millis,
            self.memory_bytes if self.memory_bytes is not None else found.memory_bytes,
        )


def worker_of_host(host: str) -> WorkerId:
    """The worker that a host becomes; the same in every life of the server.

    Such as ``engine.example.org:2375`` becoming ``engine.example.org-2375``, and
    ``unix:///run/podman.sock`` becoming ``unix-run-podman.sock``.
    """
    name = host if host.startswith("unix:") else host.partition("://")[2] or host
    return WorkerId(_ODD.sub("-", name).strip("-"))


def check_pools(pools: Sequence[PoolSettings]) -> None:
    """Raise :class:`InvalidInput` for a pattern or a host that is none."""
    names: dict[str, str] = {}
    for number, pool in enumerate(pools):
        try:
            re.compile(pool.match)
        except re.error as error:
            raise InvalidInput(
                f"pools.{number}.match", f"is not a valid expression: {error}"
            ) from error
        for host in pool.hosts:
            _check_host(f"pools.{number}.hosts", host)
            name = worker_of_host(host)
            if names.setdefault(name, host) != host or (name == LOCAL and host != LOCAL):
                raise InvalidInput(
                    f"pools.{number}.hosts",
                    f"{host} would be the same worker {name} as {names.get(name, LOCAL)}",
                )


def core_pools(pools: Sequence[PoolSettings]) -> list[Pool]:
    """The same as the scheduler knows it."""
    return [
        Pool(pool.match, frozenset(map(worker_of_host, pool.hosts)), pool.max_running)
        for pool in pools
    ]


def foreign_hosts(pools: Sequence[PoolSettings]) -> dict[str, PoolSettings]:
    """All hosts but ``local``, each with the first pool that names it."""
    found: dict[str, PoolSettings] = {}
    for pool in pools:
        for host in pool.hosts:
            if host != LOCAL:
                found.setdefault(host, pool)
    return found


def pools_from_text(text: str) -> list[object]:
    """Pools as the environment holds them: a list in JSON. Raises :class:`InvalidInput`."""
    try:
        return msgspec.json.decode(text, type=list[object])
    except msgspec.DecodeError as error:
        raise InvalidInput("pools", f"must be a list in JSON: {error}") from error


def _check_host(field: str, host: str) -> None:
    if host == LOCAL:
        return
    problem = f"{host!r} is none of tcp://HOST:PORT, https://HOST:PORT, unix:///PATH, local"
    try:
        parts = urlsplit(host)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(field, problem) from error
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme in _WITH_PORT:
        good = plain and bool(parts.hostname) and port is not None and parts.path in {"", "/"}
    else:
        good = plain and parts.scheme == "unix" and not parts.netloc and len(parts.path) > 1
    if not good:
        raise InvalidInput(field, problem)
