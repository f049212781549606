"""Two control planes of one database in this process, whose messages to each other may go wrong."""

import base64
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

import postgres
from eventually import eventually_async
from fakes.stores import migrated, threads_for_processes
from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.changes import Change
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.server import membership, stopping
from taskyard.server.assemble import Node, assemble
from taskyard.server.settings import Settings
from taskyard.transport.local.messages import (
    Deliveries,
    LocalMessageHub,
    Message,
    MessageKind,
    local_message_hub,
)

ME: Final = Caller("user me", WorkspaceName("default"), Role.ADMIN)
KEY: Final = base64.b64encode(bytes(32)).decode()
OPERATOR: Final = Caller("token ops", INSTALLATION, Role.READ, installation=Role.OPERATE)


def once(message: Message) -> Sequence[float]:
    """Nothing goes wrong."""
    del message
    return (0.0,)


def lost(message: Message) -> Sequence[float]:
    """No plane hears that another has committed anything; it is asked as ever."""
    return () if message.kind is MessageKind.PUBLISHED else (0.0,)


def faulty() -> Deliveries:
    """What is published is lost, doubled and late."""
    dice = random.Random(7)

    def deliveries(message: Message) -> Sequence[float]:
        if message.kind is not MessageKind.PUBLISHED:
            return (0.0,)
        return [dice.random() * 0.05 for _ in range(dice.choice([0, 1, 1, 2, 3]))]

    return deliveries


class TwoPlanes:
    """Both, and what each was told of."""

    def __init__(self, hub: LocalMessageHub, url: str, first: Node, second: Node) -> None:
        self.hub = hub
        self.url = url
        self.first = first
        self.second = second
        self.heard: tuple[list[Change], list[Change]] = ([], [])
        self.missed = [0, 0]
        for number, node in enumerate((first, second)):
            node.engine.bus.listen(self.heard[number].extend, partial(self._miss, number))

    def cut_connections(self) -> None:
        """Every connection to the database is lost. Blocks."""
        postgres.server().run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"  # noqa: S608 - a name of ours
            f" WHERE datname = '{urlsplit(self.url).path[1:]}'"
        )

    def _miss(self, number: int) -> None:
        self.missed[number] += 1

    async def check(self) -> None:
        """Both were told of everything that is in the histories of tasks, once and in order."""
        if self.missed != [0, 0]:
            return
        for node, heard in zip((self.first, self.second), self.heard, strict=True):
            await eventually_async(
                partial(self._differences, node, heard), lambda found: not found, within_s=15
            )

    async def _differences(
        self, node: Node, heard: list[Change]
    ) -> dict[TaskId, tuple[list[str], list[str]]]:
        told: defaultdict[TaskId, list[str]] = defaultdict(list)
        for change in (*self.heard[0], *self.heard[1]):
            told[change.task_id] = []
        for change in heard:
            if change.kind not in {"progress", "deleted"}:
                told[change.task_id].append(change.kind)
        found = {}
        for task_id, kinds in told.items():
            events = await node.engine.tasks.events(ME, task_id)
            stored = [one.kind for one in events if one.kind != "refused"]
            if stored != kinds:
                found[task_id] = stored, kinds
        return found

    def leader(self) -> Node:
        """The one that leads."""
        return self.first if self.first.wired.leadership.is_leader else self.second


@asynccontextmanager
async def two_planes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deliveries: Deliveries
) -> AsyncIterator[TwoPlanes]:
    """Both, on a database of their own."""
    server = postgres.server()
    url = server.url(postgres.new_database(server.template("migrated", migrated)))
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(local_message_hub())
        hub.deliveries = deliveries

        @asynccontextmanager
        async def the_hub() -> AsyncIterator[LocalMessageHub]:
            yield hub

        monkeypatch.setattr(membership, "local_message_hub", the_hub)
        monkeypatch.setattr(stopping, "STOP_S", 10.0)
        stack.enter_context(threads_for_processes())
        nodes = []
        for name in ("a", "b"):
            given: dict[str, Any] = {"data": tmp_path / name, "dev": True, "database": url}
            given |= {"container_engine": "off", "secret_key": KEY}
            settings = Settings.load(None, given, {})
            nodes.append(await stack.enter_async_context(assemble(settings)))
        yield TwoPlanes(hub, url, *nodes)
