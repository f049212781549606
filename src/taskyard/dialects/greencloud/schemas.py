"""The wire: members of JSON objects, with every rule that they break; pages of lists."""

import re
from collections.abc import Container
from typing import Any, Final

import msgspec
from msgspec import Struct

from taskyard.dialects.greencloud.errors import invalid
from taskyard.dialects.http.answers import JSON, Answer, Headers

TAGS_MOST: Final = 100
LIMIT_MOST: Final = 999
_LIMIT: Final = 10
_PAGE_MOST: Final = 10**12
_NUMBER: Final = re.compile(r"[0-9]{1,13}\Z", re.ASCII)


class Members:
    """The members of one object; :meth:`done` refuses them all if one broke a rule."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.wrong: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._document

    def raw(self, name: str) -> Any:
        """As it was sent; None if it was not."""
        return self._document.get(name)

    def text(
        self, name: str, pattern: re.Pattern[str], rule: str, *, required: bool = False
    ) -> str | None:
        """A text that fits; None if it was not sent, or broke the rule."""
        if self._lacks(name, required=required):
            return None
        value = self._document[name]
        if not isinstance(value, str) or not pattern.match(value):
            self.wrong[name] = rule
            return None
        return value

    def _lacks(self, name: str, *, required: bool) -> bool:
        missing = name not in self._document
        if missing and required:
            self.wrong[name] = "is required"
        return missing

    def printable(self, name: str, most: int) -> str | None:
        """Printable ASCII."""
        pattern = re.compile(rf"[\x20-\x7e]{{0,{most}}}\Z")
        return self.text(name, pattern, f"has to be printable ASCII, at most {most} characters")

    def number(
        self, name: str, least: int, most: int, *, required: bool = False, low: str = ""
    ) -> int | None:
        """A whole number in a range."""
        if self._lacks(name, required=required):
            return None
        value = self._document[name]
        if type(value) is not int or not least <= value <= most:
            self.wrong[name] = low or f"has to be a whole number from {least} to {most}"
            return None
        return value

    def boolean(self, name: str, *, required: bool = False) -> bool | None:
        """``true`` or ``false``."""
        if self._lacks(name, required=required):
            return None
        value = self._document[name]
        if not isinstance(value, bool):
            self.wrong[name] = "has to be true or false"
            return None
        return value

    def texts(self, name: str, rule: str) -> tuple[str, ...] | None:
        """A list of different texts, or one text."""
        if name not in self._document:
            return None
        value = self._document[name]
        values = [value] if isinstance(value, str) else value
        if (
            not isinstance(values, list)
            or not all(isinstance(one, str) for one in values)
            or len(set(values)) != len(values)
            or len(values) > TAGS_MOST
        ):
            self.wrong[name] = rule
            return None
        return tuple(values)

    def tag_ids(self) -> list[str]:
        """What may be ids of tags, bare or inside objects; as many as are looked at."""
        given = self._document.get(self._tag_name)
        shown = given[:TAGS_MOST] if isinstance(given, list) else []
        found = [one.get("id") if isinstance(one, dict) else one for one in shown]
        return [one for one in found if isinstance(one, str)]

    @property
    def _tag_name(self) -> str:
        return "tag" if "tag" in self._document else "tags"

    def tags(self, known: Container[str]) -> tuple[str, ...] | None:
        """Ids of tags; all have to be among those known."""
        name = self._tag_name
        if name not in self._document:
            return None
        given, ids = self._document[name], self.tag_ids()
        if not isinstance(given, list) or len(ids) != len(given):
            self.wrong[name] = f"has to be a list of ids of tags, at most {TAGS_MOST}"
        elif len(set(ids)) != len(ids):
            self.wrong[name] = "has an id twice"
        elif not all(one in known for one in ids):
            self.wrong[name] = "contains an unknown tag id"
        else:
            return tuple(ids)
        return None

    def done(self) -> None:
        """Raise ``Refusal`` if anything was wrong."""
        if self.wrong:
            raise invalid(self.wrong)


def members_of(body: bytes, *, empty: bool = False) -> Members:
    """The members of a body, which may be empty if that is said. Raises ``Refusal``."""
    if empty and not body.strip():
        return Members({})
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid({}, "the body has to be a JSON object") from error
    if not isinstance(document, dict):
        raise invalid({}, "the body has to be a JSON object")
    return Members(document)


class PageRequest(Struct, frozen=True):
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


def page_request(members: "Members", query: dict[str, str]) -> PageRequest:
    """What a request asks for; the query wins over the body. Raises ``Refused``."""
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

    found = PageRequest(
        number("page", _PAGE_MOST, 1),
        number("limit", LIMIT_MOST, _LIMIT),
        text("functionId"),
        text("timezone"),
        any(name in query or name in members for name in ("page", "limit")),
    )
    if wrong:
        raise invalid(wrong)
    return found


def page_answer(asked: PageRequest, total: int, results: list[Any]) -> Answer:
    """A page of a list."""
    return json_document(
        {
            "pageCount": -(-total // asked.limit),
            "pageSize": asked.limit,
            "totalCount": total,
            "results": results,
        }
    )


def json_document(document: Any, status: int = 200, headers: Headers = ()) -> Answer:
    """A document as JSON."""
    return Answer(status, msgspec.json.encode(document), (JSON, *headers))


def created(object_id: str) -> Answer:
    """201 with the new object's id."""
    return json_document({"id": object_id}, 201)
