"""The wire: bodies of POST and PUT with what of them cannot be used, times, JSON documents."""

import re
import shlex
import uuid
from typing import Any, Final

import msgspec
from msgspec import Struct

from taskyard.core.cron import check_seconds_cron
from taskyard.core.errors import InvalidInput
from taskyard.core.instants import Instant, to_datetime
from taskyard.dialects.fastlane.errors import BadRequest
from taskyard.dialects.http.answers import JSON, Answer

_ENCODER: Final = msgspec.json.Encoder(order="sorted")
LATEST_S: Final = 253_402_300_799
"""The end of the year 9999."""
MOST_RETRIES: Final = 1_000_000
MOST_ENTRIES: Final = 32
"""Webhooks or addresses in one list."""
LISTS: Final = ("starts", "succeeds", "fails", "finishes")
_EMPTY: Final[dict[str, Any]] = {"succeeds": [], "fails": [], "finishes": []}
_DELAY: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_ADDRESS: Final = re.compile(r"[^\s<>,;\"\\\x00-\x1f\x7f]+@[^\s<>,;\"\\\x00-\x1f\x7f]+\Z")
_SCHEDULES: Final = ("startIn", "startAt", "cron")


class Payload(Struct, frozen=True):
    """A body that can be used."""

    image: str
    command: str
    args: tuple[str, ...]
    envs: dict[str, Any]
    """As submitted."""
    env: dict[str, str]
    """As the container gets it."""
    custom: dict[str, Any] | None
    notify: dict[str, Any]
    webhooks: dict[str, Any]
    retries: int
    expiration: int | float | None
    timeout: int | float | None
    hosts: dict[str, str]
    start_in_s: int | None
    start_at_s: int | None
    cron: str | None
    backoff_min_ms: float | None
    backoff_factor: float | None


def job_id_of(text: str) -> str:
    """A UUID in any spelling as the canonical one. Raises ``BadRequest``."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError) as error:
        raise BadRequest("The job id has to be a UUID.") from error


def object_of(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises ``BadRequest``."""
    if not body.strip():
        raise BadRequest("The body is empty; it has to be a JSON object.")
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BadRequest("The body is not valid JSON.") from error
    if not isinstance(found, dict):
        raise BadRequest("The body has to be a JSON object.")
    return found


def payload_of(body: bytes) -> Payload:
    """The payload, checked in the order of the contract. Raises ``BadRequest``."""
    given = object_of(body)
    if given.get("image") is None or given.get("command") is None:
        raise BadRequest("image and command are required.")
    if sum(given.get(name) is not None for name in _SCHEDULES) > 1:
        raise BadRequest("Only one of startIn, startAt and cron can be given.")
    image, command = _text(given, "image"), _text(given, "command")
    if not image.strip() or re.search(r"[\s\x00-\x1f]", image):
        raise BadRequest("image is not the name of an image.")
    backoff = _object(given, "backoff")
    envs = _object(given, "envs")
    return Payload(
        image=image,
        command=command,
        args=_args(command),
        envs=envs,
        env={_env_name(name): _env_value(value) for name, value in envs.items()},
        custom=_custom(given.get("metadata")),
        notify=_lists(given, "notify", _check_address),
        webhooks=_lists(given, "webhooks", _check_webhook),
        retries=_retries(given.get("retries"), "retries"),
        expiration=_number(given, "expiration"),
        timeout=_number(given, "timeout"),
        hosts=_hosts(given),
        start_in_s=_start_in(given.get("startIn")),
        start_at_s=_start_at(given.get("startAt")),
        cron=_cron(given.get("cron")),
        backoff_min_ms=_bounded(backoff, "minMs", 86_400_000),
        backoff_factor=_bounded(backoff, "factor", 1000),
    )


def _text(given: dict[str, Any], name: str) -> str:
    value = given[name]
    if not isinstance(value, str):
        raise BadRequest(f"{name} has to be a string.")
    if "\0" in value:
        raise BadRequest(f"{name} contains a NUL character.")
    return value


def _args(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise BadRequest(f"command cannot be split: {error}.") from error


def _object(given: dict[str, Any], name: str) -> dict[str, Any]:
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"{name} has to be an object.")
    return value


def _env_name(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise BadRequest("envs has a name that no variable can have.")
    return name


def _env_value(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if "\0" in text:
        raise BadRequest("envs has a value with a NUL character.")
    return text


def _custom(value: Any) -> dict[str, Any] | None:
    """What is no object, or is empty, is ignored."""
    return value if isinstance(value, dict) and value else None


def _lists(given: dict[str, Any], name: str, check: Any) -> dict[str, Any]:
    """The lists as submitted, once they could be used."""
    if given.get(name) is None:
        return dict(_EMPTY)
    value = _object(given, name)
    for key in LISTS:
        entries = value.get(key)
        if entries is None:
            continue
        if not isinstance(entries, list):
            raise BadRequest(f"{name}.{key} has to be a list.")
        if len(entries) > MOST_ENTRIES:
            raise BadRequest(f"{name}.{key} has more than {MOST_ENTRIES} entries.")
        for entry in entries:
            check(entry, f"{name}.{key}")
    return value


def _check_address(entry: Any, field: str) -> None:
    if not isinstance(entry, str) or not entry.isascii() or not _ADDRESS.match(entry):
        raise BadRequest(f"{field} has to hold mail addresses.")


def _check_webhook(entry: Any, field: str) -> None:
    if not isinstance(entry, dict):
        raise BadRequest(f"{field} has to hold objects.")
    if entry.get("url") is not None and not isinstance(entry["url"], str):
        raise BadRequest(f"{field}: url has to be a string.")
    headers = entry.get("headers")
    if headers is not None and (
        not isinstance(headers, dict) or not all(isinstance(one, str) for one in headers.values())
    ):
        raise BadRequest(f"{field}: headers has to be an object of strings.")
    _retries(entry.get("retries"), f"{field}: retries")


def _retries(value: Any, field: str) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MOST_RETRIES:
        raise BadRequest(f"{field} has to be a whole number of at most {MOST_RETRIES}.")
    return value


def _number(given: dict[str, Any], name: str) -> int | float | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LATEST_S:
        raise BadRequest(f"{name} has to be a number.")
    return value


def _bounded(given: dict[str, Any], name: str, most: float) -> float | None:
    value = _number(given, name)
    if value is not None and not 0 <= value <= most:
        raise BadRequest(f"backoff.{name} has to be between 0 and {most}.")
    return value


def _hosts(given: dict[str, Any]) -> dict[str, str]:
    entries = _object(given, "additionalDNSEntries")
    for name, address in entries.items():
        if not isinstance(address, str) or not re.fullmatch(r"[0-9A-Fa-f.:%]{2,64}", address):
            raise BadRequest("additionalDNSEntries has to map host names to addresses.")
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", name):
            raise BadRequest("additionalDNSEntries has a name that no host can have.")
    return entries


def _start_in(value: Any) -> int | None:
    """Seconds; what does not fit the grammar counts as none at all."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadRequest("startIn has to be a string.")
    match = _DELAY.match(value)
    parts = match.groups() if match is not None else ()
    if any(part and len(part) > 12 for part in parts):
        raise BadRequest("startIn is too far ahead.")
    hours, minutes, seconds = (int(part or 0) for part in parts)
    return hours * 3600 + minutes * 60 + seconds


def _start_at(value: Any) -> int | None:
    if value is None or value == 0:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and len(value) <= 40):
        raise BadRequest("startAt has to be a number.")
    try:
        moment = int(float(value)) if isinstance(value, str) else int(value)
    except (ValueError, OverflowError) as error:
        raise BadRequest("startAt has to be a number.") from error
    if moment > LATEST_S:
        raise BadRequest("startAt is too far ahead.")
    return moment


def _cron(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > 200:
        raise BadRequest("cron has to be a string.")
    try:
        check_seconds_cron(value)
    except InvalidInput as error:
        raise BadRequest(f"{error}.") from error
    return value


def iso(instant: Instant | None) -> str | None:
    """ISO 8601 in UTC without a zone; the fraction is left out when it is zero."""
    return None if instant is None else to_datetime(instant).replace(tzinfo=None).isoformat()


def unix(instant: Instant) -> float:
    """Unix time in seconds with a fraction."""
    return instant / 1_000_000


def document_answer(document: Any, status: int = 200) -> Answer:
    """A document as JSON, keys sorted as clients of the original see them."""
    return Answer(status, _ENCODER.encode(document), (JSON,))
