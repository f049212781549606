"""Rows of functions and their versions, as records and back."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from taskyard.core.errors import Conflict, NotFound
from taskyard.core.functions.functions import BuildState, Function, Language, Limits, Version
from taskyard.core.ids import WorkspaceName
from taskyard.ports.functions import FoundFunction
from taskyard.store.sql.connection import Connection, Row
from taskyard.store.sql.rows import text

_limits: Final = msgspec.json.Decoder(Limits).decode
_strings: Final = msgspec.json.Decoder(tuple[str, ...]).decode


def find_function(
    connection: Connection, workspace: WorkspaceName, key: str, *, alive: bool = False
) -> Function:
    """The function of a name or an id; with ``alive`` none that is deleted.

    Raises ``NotFound``.
    """
    parameters = {"workspace": workspace, "name": key, "id": key}
    row = connection.execute("functions.function_by_name", parameters).fetchone()
    if row is None:
        row = connection.execute("functions.function_by_id", parameters).fetchone()
    if row is None or (alive and row[13] is not None):
        raise NotFound("function", key)
    return function_of(row)


def look_up(
    connection: Connection, keys: Sequence[tuple[WorkspaceName, str]]
) -> list[FoundFunction | None]:
    """Those that are not deleted, by names or ids; waits for the database three times at most."""
    wanted = [{"workspace": workspace, "name": key, "id": key} for workspace, key in keys]
    named = connection.execute_each("functions.function_by_name", wanted)
    others = iter(
        connection.execute_each(
            "functions.function_by_id",
            [one for one, rows in zip(wanted, named, strict=True) if not rows],
        )
    )
    found = [rows or next(others) for rows in named]
    functions = [function_of(rows[0]) if rows else None for rows in found]
    alive = [one for one in functions if one is not None and one.deleted_at is None]
    numbers = connection.execute_each(
        "functions.images_of_function", [{"function_id": one.id} for one in alive]
    )
    images = {
        one.id: frozenset(row[0] for row in rows) for one, rows in zip(alive, numbers, strict=True)
    }
    return [
        None if one is None or one.deleted_at is not None else FoundFunction(one, images[one.id])
        for one in functions
    ]


def check_free(connection: Connection, function: Function) -> None:
    """Raise ``Conflict`` if another function has the name."""
    parameters = {"workspace": function.workspace, "name": function.name}
    row = connection.execute("functions.function_by_name", parameters).fetchone()
    if row is not None and row[0] != function.id:
        raise Conflict(f"there is a function {function.name!r} already")


def update_function(connection: Connection, function: Function) -> None:
    """Write what may have changed of a function."""
    connection.execute(
        "functions.update_function",
        {
            "id": function.id,
            "name": function.name,
            "language": function.language.value,
            "updated_at": function.updated_at,
            "title": function.title,
            "description": function.description,
            "tags": text(function.tags),
            "limits": text(function.limits),
            "live_version": function.live_version,
            "paused": int(function.paused),
            "deleted_at": function.deleted_at,
        },
    )


def row_of(function: Function) -> tuple[Any, ...]:
    """All columns of a function."""
    return (
        function.id,
        function.workspace,
        function.name,
        function.language.value,
        function.created_at,
        function.updated_at,
        function.title,
        function.description,
        text(function.tags),
        text(function.limits),
        function.live_version,
        function.last_version,
        int(function.paused),
        function.deleted_at,
    )


def function_of(row: Row) -> Function:
    """A function from the columns that ``function_by_id`` names."""
    return Function(
        id=row[0],
        workspace=row[1],
        name=row[2],
        language=Language(row[3]),
        created_at=row[4],
        updated_at=row[5],
        title=row[6],
        description=row[7],
        tags=_strings(row[8]),
        limits=_limits(row[9]),
        live_version=row[10],
        last_version=row[11],
        paused=bool(row[12]),
        deleted_at=row[13],
    )


def version_of(row: Row) -> Version:
    """A version from the columns that ``version_by_number`` names."""
    return Version(
        function_id=row[0],
        number=row[1],
        state=BuildState(row[2]),
        bundle=row[3],
        size_bytes=row[4],
        language=Language(row[5]),
        handler=row[6],
        entry=row[7],
        dependencies=_strings(row[8]),
        created_at=row[9],
        created_by=row[10],
        finished_at=row[11],
        message=row[12],
        image=row[13],
        digest=row[14],
        credentials=row[15],
    )


def version_row(version: Version) -> tuple[Any, ...]:
    """The columns of a version that was just added."""
    return (
        version.function_id,
        version.number,
        version.state.value,
        version.bundle,
        version.size_bytes,
        version.language.value,
        version.handler,
        version.entry,
        text(version.dependencies),
        version.created_at,
        version.created_by,
        version.image,
        version.credentials,
    )
