"""Lists with pages: which page is asked for, in the query or in the body of a GET."""

import re
from typing import Any, Final

from msgspec import Struct

from taskyard.dialects.greencloud.call import Call, json
from taskyard.dialects.greencloud.errors import invalid
from taskyard.dialects.greencloud.fields import members_of
from taskyard.dialects.http.answers import Answer

LIMIT_MOST: Final = 999
_LIMIT: Final = 10
_PAGE_MOST: Final = 10**12
_NUMBER: Final = re.compile(r"[0-9]{1,13}\Z", re.ASCII)


class Asked(Struct, frozen=True):
    """What a list is narrowed down to."""

    page: int
    limit: int
    function_id: str | None
    timezone: str | None
    paged: bool
    """Whether a page was asked for, and not only the default one."""

    @property
    def offset(self) -> int:
        """Entries before the page."""
        return (self.page - 1) * self.limit


async def asked(call: Call) -> Asked:
    """What a request asks for; the query wins over the body. Raises ``Refusal``."""
    members = members_of(await call.body(), empty=True)
    query = call.query()
    wrong: dict[str, str] = {}

    def number(name: str, most: int, otherwise: int) -> int:
        value: Any = members.raw(name)
        if name in query:
            value = int(query[name]) if _NUMBER.match(query[name]) else None
        elif name not in members:
            return otherwise
        if type(value) is not int or not 1 <= value <= most:
            wrong[name] = f"has to be a whole number from 1 to {most}"
            return otherwise
        return value

    def text(name: str) -> str | None:
        value = query[name] if name in query else members.raw(name)
        if value is not None and not isinstance(value, str):
            wrong[name] = "has to be text"
            return None
        return value or None

    found = Asked(
        number("page", _PAGE_MOST, 1),
        number("limit", LIMIT_MOST, _LIMIT),
        text("functionId"),
        text("timezone"),
        any(name in query or name in members for name in ("page", "limit")),
    )
    if wrong:
        raise invalid(wrong)
    return found


def page(asked_for: Asked, total: int, results: list[Any]) -> Answer:
    """A page."""
    return json(
        {
            "pageCount": -(-total // asked_for.limit),
            "pageSize": asked_for.limit,
            "totalCount": total,
            "results": results,
        }
    )
