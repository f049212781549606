"""PgBouncer in front of PostgreSQL: what goes through it, and what is refused."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import postgres
from eventually import eventually
from served import serving
from taskyard.cli.doctor.database import check_database
from taskyard.core.errors import StoreDamaged
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.migrate import migrate

pytestmark = pytest.mark.pgbouncer
_SETTINGS = """
[databases]
* = host={server} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 40
logfile = {log}
"""


@contextlib.contextmanager
def pooler(root: Path, mode: str, database: str) -> Iterator[str]:
    """A running PgBouncer with its files in ``root``, for all to read and write; answers the URL of
    the database through it.
    """
    server = postgres.server()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own = probe.getsockname()[1]
    log, settings = root / "pgbouncer.log", root / "pgbouncer.ini"
    text = _SETTINGS.format(server=server.root, port=server.port, own=own, mode=mode, log=log)
    # With any user let in, who connects to PostgreSQL has to be said.
    settings.write_text(text.replace("* = ", f"{database} = user={postgres.USER} "))
    command = ["pgbouncer", str(settings)]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
    process = subprocess.Popen(
        command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text() if log.exists() else "it ended"
            with socket.socket() as asking:
                return asking.connect_ex(("127.0.0.1", own)) == 0

        eventually(answers)
        yield f"postgresql://{postgres.USER}@127.0.0.1:{own}/{database}"
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_of_transactions_is_refused(common_path: Path, mode: str) -> None:
    """Before anything is changed; ``taskyard doctor`` says the same."""
    name = postgres.new_database()
    with pooler(common_path, mode, name) as url:
        with pytest.raises(StoreDamaged, match="set pool_mode = session"):
            migrate(PostgresDatabase(database_address(url)))
        (found,) = check_database(common_path / "data", url)
        assert (found.check, found.status) == ("database", "fail")
        assert "Set pool_mode = session" in str(found.what_to_do)
    made = postgres.server().run("SELECT 1 FROM pg_namespace WHERE nspname = 'taskyard'", name)
    assert made == []


@pytest.mark.long
def test_a_server_works_through_a_pooler_of_sessions(tmp_path: Path, common_path: Path) -> None:
    """Also after its connections were cut: prepared statements and settings are those of each."""
    name = postgres.new_database()
    with (
        pooler(common_path, "session", name) as url,
        serving(tmp_path / "data", "--database", url) as served,
        served.client() as client,
    ):
        for _ in range(2):
            task = eventually(
                lambda: client.post("/tasks", json={"command": "true"}),
                lambda answer: answer.status_code == 201,
            ).json()["id"]
            done = eventually(
                lambda: client.get(f"/tasks/{task}").json(),  # noqa: B023
                lambda found: found.get("state") == "succeeded",
            )
            assert done["id"] == task
            postgres.server().run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"  # noqa: S608 - ours
                f" WHERE datname = '{name}' AND pid <> pg_backend_pid()"
            )
