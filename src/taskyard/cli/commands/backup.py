"""``taskyard backup`` and ``taskyard restore``."""

from pathlib import Path

from taskyard.cli.moving import location_of, moved, reported, shown_progress
from taskyard.cli.output import note, on_terminal


def backup(
    file: Path,
    *,
    data: str | None = None,
    database: str | None = None,
    password_file: Path | None = None,
    force: bool = False,
    json: bool = False,
) -> int:
    """Write everything that a store holds into one archive, also while a server uses it.

    It holds the key of the secrets, if that is in the data directory: keep it as safe as the store.

    Args:
        file: Archive to write; readable by you only.
        data: Data directory; with --database, that of a control plane.
        database: PostgreSQL database of the store, as postgresql://USER@HOST:PORT/DATABASE.
        password_file: File with the database's password in its first line; otherwise it is that of
            the URL, of TASKYARD_DATABASE_PASSWORD, or PostgreSQL's own.
        force: Replace a file that exists.
        json: Print JSON, the default when the output is not a terminal.
    """
    as_json = json or not on_terminal()
    location = location_of(data, database, password_file)
    with reported(), shown_progress(quiet=as_json) as watch:
        from taskyard.server.stored_files import files_of  # noqa: PLC0415 - loads slowly
        from taskyard.store.transfer.procedures import back_up  # noqa: PLC0415 - as above

        result = back_up(location, file, watch, files=files_of, force=force)
    if result.missing:
        note(f"{len(result.missing)} files were removed meanwhile and are not in the backup.")
    if database is not None and data is None:
        note(
            "The key of the secrets is not in the backup; name a control plane's data directory "
            "with --data to include it."
        )
    return moved(result, "saved").print(as_json=as_json)


def restore(
    file: Path,
    *,
    data: str | None = None,
    database: str | None = None,
    password_file: Path | None = None,
    force: bool = False,
    json: bool = False,
) -> int:
    """Make a store of a backup. The server must not run.

    Args:
        file: Archive that 'taskyard backup' wrote, of whichever database.
        data: Data directory for the store; with --database, for the key of its secrets.
        database: PostgreSQL database for the store, as postgresql://USER@HOST:PORT/DATABASE.
        password_file: File with the database's password in its first line; otherwise it is that of
            the URL, of TASKYARD_DATABASE_PASSWORD, or PostgreSQL's own.
        force: Replace everything that is there.
        json: Print JSON, the default when the output is not a terminal.
    """
    as_json = json or not on_terminal()
    location = location_of(data, database, password_file)
    with reported(), shown_progress(quiet=as_json) as watch:
        from taskyard.server.stored_files import files_of  # noqa: PLC0415 - loads slowly
        from taskyard.store.transfer.procedures import restore as put_back  # noqa: PLC0415 - as above

        result = put_back(file, location, watch, files=files_of, force=force)
    return moved(result, "restored").print(as_json=as_json)
