"""Where the database is: its URL, checked, with the password from elsewhere; never shown whole."""

from typing import Final
from urllib.parse import urlsplit

import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskyard.core.errors import InvalidInput

SCHEMES: Final = ("postgresql", "postgres")
CONNECT_TIMEOUT_S: Final = 5
"""Seconds that a server gets to take a connection."""
_SILENT_MS: Final = 10_000
"""A server that does not answer for so long is taken for lost."""
_DEFAULTS: Final[dict[str, str | int]] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": _SILENT_MS,
    "client_encoding": "UTF8",
}


class DatabaseAddress(Struct, frozen=True):
    """How to connect to a database. Printed without its password."""

    conninfo: str
    """For libpq, complete: nothing is read from the environment of the process that connects."""
    shown: str
    """For messages: server and database."""

    def __repr__(self) -> str:
        return f"DatabaseAddress({self.shown!r})"


def database_address(url: str, password: str | None = None) -> DatabaseAddress:
    """The address of a database.

    What the URL leaves out comes from libpq's environment variables and defaults, but for the name
    of the database and the user, which have to be said.

    Args:
        url: ``postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full&…``, with libpq's options.
        password: instead of the one in the URL.

    Raises:
        InvalidInput: it is not the URL of a PostgreSQL database.
    """
    scheme = url.partition(":")[0]
    if scheme not in SCHEMES:
        raise InvalidInput(
            "database", f"must be a URL like postgresql://USER@HOST/DATABASE, not {_hidden(url)}"
        )
    try:
        given = {key: value for key, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError as error:
        reason = str(error).strip().removeprefix("missing ")
        if password is not None or "@" in url:
            reason = "its options are not those of PostgreSQL"
        raise InvalidInput("database", f"is not a valid URL of PostgreSQL: {reason}") from error
    for part, name in (("dbname", "the name of a database"), ("user", "a user")):
        if not given.get(part):
            raise InvalidInput(
                "database", f"must have {name}, as in postgresql://USER@HOST/DATABASE"
            )
    options: dict[str, str | int] = {**_DEFAULTS, **given}
    if password is not None:
        options["password"] = password
    if "," in str(options.get("host", "")):
        options.setdefault("target_session_attrs", "read-write")
    return DatabaseAddress(make_conninfo("", **options), _shown(given))


def _shown(given: "dict[str, str | int]") -> str:
    """Server and database, as a URL without anything secret."""
    host, port = given.get("host", "localhost"), given.get("port")
    return f"postgresql://{host}{f':{port}' if port else ''}/{given['dbname']}"


def _hidden(url: str) -> str:
    """What is not a URL of PostgreSQL, as far as it may be shown."""
    if "://" in url:
        return repr(f"{urlsplit(url).scheme}://…")
    return repr(url[:80]) if url.startswith(("/", ".")) else "something else"
