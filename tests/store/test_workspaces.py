"""Which workspaces there are."""

from contextlib import closing
from pathlib import Path

import pytest

from fakes.specs import NOW, new_task
from fakes.stores import opened, prepare
from taskyard.core.instants import after
from taskyard.store.sqlite.database import FILE_NAME, connect

pytestmark = pytest.mark.anyio

_TOKEN = """INSERT INTO tokens
(id, name, workspace, role, digest, created_at, expires_at, revoked_at)
VALUES (?, 't', ?, 10, zeroblob(32), 1, ?, ?)"""
_FUNCTION = """INSERT INTO functions VALUES
(?, ?, 'f', ?, 1, 1, '', '', '[]', '{}', NULL, 1, 0, ?)"""


async def test_workspaces_are_those_with_credentials_tasks_or_functions(tmp_path: Path) -> None:
    """Revoked and expired tokens make none, nor does the installation. Images are no functions
    that run on the machine itself.
    """
    prepare(tmp_path)
    with closing(connect(tmp_path / FILE_NAME)) as connection:
        connection.executemany(
            _TOKEN,
            [
                ("1", "token", None, None),
                ("2", "expired", NOW, None),
                ("3", "revoked", None, NOW),
                ("4", "*", None, None),
                ("5", "python", after(NOW, 60), None),
            ],
        )
        connection.execute("INSERT INTO users VALUES ('u', 'user', 10, 'hash', 1)")
        connection.executemany(
            _FUNCTION,
            [
                ("1", "python", "python", None),
                ("2", "image", "image", None),
                ("3", "deleted", "python", NOW),
            ],
        )
    store = await opened(tmp_path)
    try:
        await store.tasks.submit([new_task(workspace="task")], None)
        assert await store.workspace_users.workspaces(after(NOW, 1)) == {
            "token": False,
            "user": False,
            "task": False,
            "image": False,
            "python": True,
        }
    finally:
        await store.close()
