"""``taskyard doctor``."""

from collections.abc import Iterator
from pathlib import Path

from taskyard.cli import exit_status
from taskyard.cli.doctor.cgroups import check_cgroups
from taskyard.cli.doctor.database import check_database
from taskyard.cli.doctor.finding import Finding, Status
from taskyard.cli.doctor.machine import (
    check_clock,
    check_data,
    check_files,
    check_python,
    check_sqlite,
    check_zones,
)
from taskyard.cli.doctor.programs import check_bubblewrap, check_engines, check_languages
from taskyard.cli.doctor.server import check_parked, check_reach, check_server, check_work
from taskyard.cli.environment import read_environment
from taskyard.cli.output import on_terminal, plain, print_json, print_table

_COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}


def doctor(
    *,
    data: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    database: str | None = None,
    nats: str | None = None,
    json: bool = False,
) -> int:
    """Check this machine and suggest fixes; exits with 1 when a check fails.

    Args:
        data: Data directory to check.
        host: Address the server would listen on.
        port: Port the server would listen on.
        database: PostgreSQL database to check, as postgresql://USER@HOST/DATABASE; otherwise that
            of the settings. Nothing is changed in it.
        nats: NATS server to check, as nats://HOST:4222; otherwise that of the settings.
        json: Print JSON, the default when the output is not a terminal.
    """
    directory = Path(data or read_environment().data)
    findings = list(_findings(directory, host, port, database, nats))
    if json or not on_terminal():
        print_json(findings)
    else:
        from rich.text import Text  # noqa: PLC0415 - slow to load, and only this needs it

        print_table(
            ("", "CHECK", "FOUND", "WHAT TO DO"),
            (
                (
                    Text(each.status.value, style=_COLOURS[each.status]),
                    plain(each.check),
                    plain(each.detail),
                    plain(each.what_to_do),
                )
                for each in findings
            ),
        )
    failed = any(each.status is Status.FAIL for each in findings)
    return exit_status.FAILED if failed else exit_status.OK


def _findings(
    data: Path, host: str, port: int, database: str | None, nats: str | None
) -> Iterator[Finding]:
    yield check_python()
    yield check_sqlite()
    yield check_files()
    yield from check_data(data)
    yield check_clock()
    yield check_zones()
    yield from check_cgroups()
    yield check_bubblewrap()
    yield check_work(data, database, nats)
    yield check_reach(data)
    yield check_engines()
    yield check_languages()
    yield check_server(data, host, port)
    if (parked := check_parked(data)) is not None:
        yield parked
    yield from check_database(data, database, nats)
