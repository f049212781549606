"""What the commands that move whole stores share: addresses, errors, progress, reports."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from taskyard.cli import exit_status
from taskyard.cli.environment import read_environment
from taskyard.cli.errors import CommandError, UsageError
from taskyard.cli.frame import Printed
from taskyard.cli.output import print_facts
from taskyard.cli.quantities import format_size

if TYPE_CHECKING:
    from taskyard.store.transfer.address import Address, Location
    from taskyard.store.transfer.engine import Step
from taskyard.store.transfer.procedures import Moved

DATABASE: Final = "TASKYARD_DATABASE"
"""The server's setting, in the environment; those of its password begin with it."""


def location_of(data: str | None, database: str | None, password_file: Path | None) -> "Location":
    """The store that the options name; without any that of the environment, as a server would.

    Raises :class:`CommandError`.
    """
    from taskyard.store.transfer.address import Location, PostgresAddress, SqliteAddress  # noqa: PLC0415

    if database is None and data is None:
        database = os.environ.get(DATABASE)
    if database is None:
        directory = Path(data or read_environment().data)
        return Location(SqliteAddress(directory), directory)
    address = address_of(database, "--database", password_file)
    if not isinstance(address, PostgresAddress):
        raise UsageError("--database is for PostgreSQL; name a data directory with --data")
    return Location(address, None if data is None else Path(data))


def address_of(text: str, option: str, password_file: Path | None) -> "Address":
    """The store at an address. Raises :class:`UsageError` naming the option."""
    from taskyard.store.transfer.address import parse_address  # noqa: PLC0415 - slow to load
    from taskyard.store.transfer.errors import WrongAddress  # noqa: PLC0415 - as above

    try:
        return parse_address(text, _password(password_file))
    except WrongAddress as error:
        raise UsageError(f"{option}: {error}") from error


def _password(path: Path | None) -> str | None:
    """The database's password, from where a server has it. Raises :class:`CommandError`."""
    named = os.environ.get(f"{DATABASE}_PASSWORD_FILE")
    if path is None and named is None:
        return os.environ.get(f"{DATABASE}_PASSWORD")
    path = path or Path(named or "")
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--password-file: {path} cannot be read: {error}") from error
    if not lines or not lines[0]:
        raise UsageError(f"--password-file: {path} has no password in its first line")
    return lines[0]


@contextmanager
def reported() -> Iterator[None]:
    """Errors of stores as the command line's, with the exit status for each kind."""
    from taskyard.core.errors import (  # noqa: PLC0415 - the store loads slowly
        StorageFull,
        StoreDamaged,
        StoreInUse,
        TaskyardError,
        Unavailable,
    )
    from taskyard.store.transfer import errors  # noqa: PLC0415 - as above

    statuses: tuple[tuple[type[TaskyardError], int], ...] = (
        (errors.WrongAddress, exit_status.USAGE),
        (errors.NotAStore, exit_status.NOT_FOUND),
        (errors.NotAllowedThere, exit_status.NOT_ALLOWED),
        (errors.Lost, exit_status.UNREACHABLE),
        (StorageFull, exit_status.TRY_AGAIN),
        (StoreInUse, exit_status.TRY_AGAIN),
        (errors.NotEmpty, exit_status.FAILED),
        (errors.SchemaMismatch, exit_status.FAILED),
        (StoreDamaged, exit_status.FAILED),
        (Unavailable, exit_status.TROUBLE),
        (TaskyardError, exit_status.TROUBLE),
    )
    try:
        yield
    except TaskyardError as error:
        status = next(status for kind, status in statuses if isinstance(error, kind))
        raise CommandError(str(error), status) from error
    except OSError as error:
        raise CommandError(
            f"{error.filename or 'a file'} cannot be used: {error.strerror or error}",
            exit_status.TROUBLE,
            what_to_do="Check its path, its rights and the room on its disk.",
        ) from error


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[Callable[["Step"], None]]:
    """A bar on standard error, where that is a terminal; nothing elsewhere, or for programs."""
    if quiet or not sys.stderr.isatty():
        yield lambda _step: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to load, and only this needs it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("opening", total=None)

        def watch(step: "Step") -> None:
            if step.total or step.rows:
                progress.update(
                    bar, description=_words(step), completed=step.rows, total=step.total or None
                )

        yield watch


def _words(step: "Step") -> str:
    """Such as ``copying tasks (12 of 33): 4,000 of 10,000 rows, 12.5 MiB``."""
    verb = {"read": "reading", "copy": "copying", "verify": "comparing"}[step.phase]
    place = f" ({step.table_number} of {step.table_count})" if step.table_count else ""
    unit = "rows" if step.table_count else "files"
    of_total = f" of {step.total:,}" if step.total else ""
    size = f", {format_size(step.bytes)}" if step.bytes else ""
    return f"{verb} {step.table}{place}: {step.rows:,}{of_total} {unit}{size}"


def moved(result: "Moved", verb: str) -> Printed:
    """What was moved, for people and programs."""
    value = {
        "from": result.origin,
        "to": result.to,
        "rows": result.row_count,
        "tables": {name: each.rows for name, each in result.tables.items()},
        "checksums": {name: each.sha256 for name, each in result.tables.items()},
        "files": result.file_count,
        "file_bytes": result.file_bytes,
        "missing": result.missing,
        "running": result.running,
        "key": result.key,
    }
    facts = [
        (verb, result.origin),
        ("to", result.to),
        ("rows", f"{result.row_count:,} in {len(result.tables)} tables, verified"),
        ("files", f"{result.file_count:,} ({format_size(result.file_bytes)})"),
        ("missing", ", ".join(result.missing)),
        ("key", result.key),
    ]
    return Printed(value, lambda: print_facts(facts))
