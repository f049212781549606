"""``taskyard store``: copy one elsewhere, check one."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from taskyard.cli import exit_status
from taskyard.cli.frame import Printed
from taskyard.cli.moving import address_of, location_of, moved, reported, shown_progress
from taskyard.cli.output import clean, note, on_terminal, say

if TYPE_CHECKING:
    from taskyard.store.sql.check import Finding
    from taskyard.store.transfer.address import Address, Location

app = App(name="store", help="The store: check, copy to another database.", version_flags=[])


@app.command
def check(
    *,
    data: str | None = None,
    database: str | None = None,
    password_file: Path | None = None,
    json: bool = False,
) -> int:
    """Check that a store agrees with itself, also while a server uses it. Changes nothing.

    Exits with 1 if something is wrong; output that is gone is a warning.

    Args:
        data: Data directory; with --database, that of a control plane.
        database: PostgreSQL database of the store, as postgresql://USER@HOST:PORT/DATABASE.
        password_file: File with the database's password in its first line; otherwise it is that of
            the URL, of TASKYARD_DATABASE_PASSWORD, or PostgreSQL's own.
        json: Print JSON, the default when the output is not a terminal.
    """
    location = location_of(data, database, password_file)
    with reported():
        from taskyard.store.transfer.checking import check_store  # noqa: PLC0415 - loads slowly

        findings = check_store(location)
    failed = any(finding.severity == "error" for finding in findings)
    return Printed(
        {"store": str(location.address), "sound": not failed, "findings": findings},
        lambda: _show(str(location.address), findings),
        exit_status.FAILED if failed else exit_status.OK,
    ).print(as_json=json or not on_terminal())


def _show(store: str, findings: "Sequence[Finding]") -> None:
    if not findings:
        say(f"{store} is sound.")
    for finding in findings:
        say(f"{finding.severity}: {finding.problem}")
        for entry in finding.entries:
            say(f"  {clean(entry)}")
        if finding.count > len(finding.entries):
            say(f"  and {finding.count - len(finding.entries):,} more")
        say(f"  {finding.what_to_do}")


@app.command
def copy(
    *,
    origin: Annotated[str, Parameter(name="--from")],
    to: str,
    data: Path | None = None,
    password_file: Path | None = None,
    no_key: bool = False,
    force: bool = False,
    json: bool = False,
) -> int:
    """Copy a store to another database, with all that belongs to it. Servers must not run.

    A copy that was interrupted goes on where it was when the same command is run again. At the end
    all tables of both are compared; until then no server opens the copy.

    Args:
        origin: Store to copy: sqlite:DIRECTORY or postgresql://USER@HOST:PORT/DATABASE.
        to: Where to, likewise.
        data: Data directory of a control plane, for the side that is PostgreSQL: the key of the
            secrets is copied from or to it. Without, the key stays where it is.
        password_file: File with PostgreSQL's password in its first line; otherwise it is that of
            the URL, of TASKYARD_DATABASE_PASSWORD, or PostgreSQL's own.
        no_key: The key of the secrets is given by the setting secret_key; there is no file.
        force: Replace everything that is in the target.
        json: Print JSON, the default when the output is not a terminal.
    """
    as_json = json or not on_terminal()
    here, there = address_of(origin, "--from", password_file), address_of(to, "--to", password_file)
    with reported(), shown_progress(quiet=as_json) as watch:
        from taskyard.server.stored_files import files_of  # noqa: PLC0415 - loads slowly
        from taskyard.store.transfer.address import SqliteAddress  # noqa: PLC0415 - as above
        from taskyard.store.transfer.file_names import KEY  # noqa: PLC0415 - as above
        from taskyard.store.transfer.procedures import copy_store  # noqa: PLC0415 - as above

        result = copy_store(
            _location(here, data),
            _location(there, data),
            watch,
            files=files_of,
            force=force,
            key_elsewhere=no_key,
        )
    if result.key is None and not isinstance(there, SqliteAddress):
        note(f"Each control plane needs the key of the secrets, {KEY}, in its data directory.")
    if result.running:
        note(f"{result.running} attempts have not ended; what they print stays where they run.")
    return moved(result, "copied").print(as_json=as_json)


def _location(address: "Address", data: Path | None) -> "Location":
    from taskyard.store.transfer.address import Location, SqliteAddress  # noqa: PLC0415 - slow

    if isinstance(address, SqliteAddress):
        return Location(address, address.directory)
    return Location(address, data)
