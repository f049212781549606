"""The database: opens connections that are set up the one way all of ours are."""

from functools import partial
from typing import Any, Final

import psycopg
from psycopg import sql

from taskyard.core.errors import StoreDamaged, Unavailable
from taskyard.store.postgres.address import DatabaseAddress
from taskyard.store.postgres.connection import PostgresConnection
from taskyard.store.postgres.errors import not_connected
from taskyard.store.postgres.values import WholeNumber
from taskyard.store.sql.connection import Connection, DiskSpace

SCHEMA: Final = "taskyard"
"""Where our tables are; a database that people share keeps its own ones apart."""
OLDEST_VERSION: Final = 14
STATEMENT_TIMEOUT_S: Final = 30
LOCK_TIMEOUT_S: Final = 10
IDLE_TIMEOUT_S: Final = 60
"""Within a transaction: a process that hangs keeps its locks no longer than that."""
WRITER_IDLE_TIMEOUT_S: Final = 3
"""The same of whoever writes for a control plane. Less than a leader's hold lasts: one that is
stopped in the middle of a transaction must not keep the others from taking over."""
_SETTINGS: Final = {
    "search_path": SCHEMA,
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    "jit": "off",  # costs more than any query of ours takes
    # Statements are planned once, maybe while a table is nearly empty. Ours look rows up by
    # indexes, in the order of the keys they are given; that has to stay so when the table grows.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # Once it knows how many rows there are, the planner would rather test a whole table in order
    # of its key than fetch a tenth of the rows by the index that has them in that order. In truth a
    # page that an index leads to costs little more than the next one.
    "random_page_cost": "1.1",
}


class PostgresDatabase:
    """Implements ``store.sql.connection.Database``; connections connect when they are first used.

    Args:
        address: where it is.
        name: of the program, for ``pg_stat_activity``.
    """

    def __init__(self, address: DatabaseAddress, name: str = "taskyard") -> None:
        self.address = address
        self.name = name

    def connect(self) -> PostgresConnection:
        """See the protocol."""
        return PostgresConnection(partial(self.raw, WRITER_IDLE_TIMEOUT_S, plans_once=True))

    def connect_reading(self) -> PostgresConnection:
        """See the protocol."""
        return PostgresConnection(self.raw, reads=True)

    def disk_space(self, connection: Connection) -> DiskSpace | None:
        """See the protocol: the disk is the server's to mind."""
        del connection
        return None

    def raw(
        self, idle_timeout_s: int = IDLE_TIMEOUT_S, *, plans_once: bool = False
    ) -> "psycopg.Connection[Any]":
        """A connection that is set up, in autocommit. Raises ``psycopg.Error``.

        Args:
            idle_timeout_s: how long it may do nothing in a transaction.
            plans_once: whether no query is planned for the values it is given. Where keys are
                looked up planning takes longer than running; pages are read by their values.
        """
        settings = _SETTINGS | {"idle_in_transaction_session_timeout": f"{idle_timeout_s}s"}
        if plans_once:
            settings["plan_cache_mode"] = "force_generic_plan"
        try:
            connection = psycopg.connect(
                self.address.conninfo, autocommit=True, application_name=self.name
            )
        except psycopg.OperationalError as error:
            raise not_connected(error) from error
        connection.adapters.register_loader("numeric", WholeNumber)
        try:
            commands = [
                sql.SQL("SET {} = {}").format(sql.Identifier(key), sql.Literal(value))
                for key, value in settings.items()
            ]
            # One round trip. Options of the connection itself would not pass a pooler.
            connection.execute(sql.SQL("; ").join(commands))
            # Durable before acknowledged, whatever the server is set to.
            connection.execute(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )
        except BaseException:
            connection.close()
            raise
        return connection


def check_server(connection: "psycopg.Connection[Any]", shown: str) -> None:
    """Refuse a server that cannot hold a store.

    Args:
        connection: to it.
        shown: names it in messages.

    Raises:
        StoreDamaged: it is too old, or the database has another encoding.
        Unavailable: it only reads.
    """
    version = connection.info.server_version // 10_000
    if version < OLDEST_VERSION:
        raise StoreDamaged(
            f"{shown} is PostgreSQL {version}; Taskyard needs {OLDEST_VERSION} or newer"
        )
    row = connection.execute(
        "SELECT current_setting('server_encoding'), pg_is_in_recovery(),"
        " current_setting('default_transaction_read_only')"
    ).fetchone()
    encoding, replica, read_only = row or ("", False, "off")
    if encoding != "UTF8":
        raise StoreDamaged(
            f"{shown} has the encoding {encoding}; create a database for Taskyard with"
            " ENCODING 'UTF8' TEMPLATE template0"
        )
    if replica:
        raise Unavailable(
            f"{shown} is a replica, which only reads; give the address of the primary, or of all"
            " servers as postgresql://USER@HOST1,HOST2/DATABASE"
        )
    if read_only == "on":
        raise Unavailable(
            f"{shown} only reads: its default_transaction_read_only is on; set it to off for"
            " Taskyard's role"
        )
