"""Prepared statements of one connection to PostgreSQL.

A query is prepared when it is first used; the server says of which types its placeholders are, and
values are sent as those (``values.py``). Statements end with their connection.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from psycopg import pq

from taskyard.store.postgres.placeholders import Numbered, numbered
from taskyard.store.postgres.values import Encoder
from taskyard.store.sql.connection import Parameters
from taskyard.store.sql.queries import queries

SELECTS_KEPT: Final = 64
"""Prepared statements kept of those that have no name."""
BINARY: Final = pq.Format.BINARY
SQL: Final = queries("taskyard.store.postgres")
_SURE: Final = (
    "WITH done AS ({query} RETURNING 1)"
    " SELECT 1 / CASE WHEN count(*) = ${count}::bigint THEN 1 ELSE 0 END FROM done"
)
_PLACEHOLDER: Final = re.compile(r"\$\d+")


class Statement:
    """A prepared statement of one connection."""

    __slots__ = ("encoders", "formats", "key", "query", "reads", "unnests")

    def __init__(self, key: bytes, query: Numbered, encoders: Sequence[Encoder]) -> None:
        self.key = key
        self.query = query
        self.encoders = encoders
        self.formats = [BINARY] * len(encoders)
        text = query.sql.lstrip().upper()
        self.reads = text.startswith("SELECT")
        self.unnests = "unnest(" in query.sql

    def encoded(self, values: Sequence[Any]) -> list[bytes | None]:
        """Values, in the order of the placeholders, as they are sent."""
        return [
            None if value is None else encode(value)
            for encode, value in zip(self.encoders, values, strict=True)
        ]

    def arguments(self, parameters: Parameters) -> list[bytes | None]:
        """Parameters, by place or by name, as they are sent."""
        return self.encoded(self.query.values(parameters))


class Question:
    """A prepared statement with its values, whose answer is looked at later."""

    __slots__ = ("result", "statement", "values")

    def __init__(self, statement: Statement, values: list[bytes | None]) -> None:
        self.statement = statement
        self.values = values
        self.result: pq.abc.PGresult | None = None
        """What the server answered; None before it did."""


Command = bytes | Question | tuple[Statement, list[bytes | None]]
"""Its text, or a prepared statement with its values."""


class Statements:
    """Those that are prepared already; the others when they are asked for.

    Args:
        prepare: has the server prepare a query. Raises ``psycopg.Error``.
        discard: called with the key of one that is not kept any longer.
    """

    def __init__(
        self, prepare: Callable[[Numbered], Statement], discard: Callable[[bytes], None]
    ) -> None:
        self._prepare = prepare
        self._discard = discard
        self._named: dict[str, Statement] = {}
        self._sure: dict[str, Statement] = {}
        self._selects: OrderedDict[str, Statement] = OrderedDict()

    def named(self, name: str) -> Statement:
        """The one of a named query."""
        statement = self._named.get(name)
        if statement is None:
            statement = self._named[name] = self._prepare(numbered(SQL[name]))
        return statement

    def sure(self, name: str) -> Statement:
        """The one of a named query that fails unless it changes as many rows as a last value says.

        As a division by zero, which none of our queries does otherwise.
        """
        statement = self._sure.get(name)
        if statement is None:
            query = numbered(SQL[name])
            count = len(set(_PLACEHOLDER.findall(query.sql))) + 1
            sql = _SURE.format(query=query.sql, count=count)
            statement = self._sure[name] = self._prepare(query._replace(sql=sql))
        return statement

    def select(self, sql: str) -> Statement:
        """The one of a query that has no name; those used last are kept."""
        statement = self._selects.get(sql)
        if statement is None:
            statement = self._selects[sql] = self._prepare(numbered(sql))
            if len(self._selects) > SELECTS_KEPT:
                _, oldest = self._selects.popitem(last=False)
                self._discard(oldest.key)
        self._selects.move_to_end(sql)
        return statement

    def clear(self) -> None:
        """Prepare all again when they are next used."""
        self._named.clear()
        self._sure.clear()
        self._selects.clear()
