"""Configuration files that are fetched over HTTP before a task is created.

Those that the original's executor fetches are fetched here too: what the task finds is what was
there when it was accepted, and nothing of how to get it is kept.
"""

import base64
from collections.abc import Iterable
from typing import Final

from taskyard.dialects.drove import schemas as wire
from taskyard.dialects.drove.errors import ValidationFailed
from taskyard.dialects.drove.units import Duration
from taskyard.ports.outgoing import Fetch, Fetcher, SendFailed

LIMIT_BYTES: Final = 1 << 20
_SECOND: Final = Duration(1, "second")
_LONGEST_S: Final = 60.0
_OK: Final = (200,)


async def fetch_configs(fetch: Fetcher | None, configs: Iterable[wire.Config]) -> dict[str, str]:
    """Contents of what has to be fetched, base64, by file name.

    Raises :class:`ValidationFailed`.
    """
    found: dict[str, str] = {}
    for config in configs:
        if not isinstance(config, wire.ControllerFetchConfig | wire.ExecutorFetchConfig):
            continue
        name, http = config.localFilename or "", config.http or wire.Http()
        try:
            found[name] = base64.b64encode(await _fetched(fetch, http)).decode()
        except SendFailed as error:
            raise ValidationFailed([f"Config {name} cannot be fetched: {error}"]) from error
    return found


async def _fetched(fetch: Fetcher | None, http: wire.Http) -> bytes:
    if fetch is None:
        raise SendFailed("nothing can be fetched here")
    answer = await fetch(
        Fetch(
            url=_url(http),
            method=http.verb.value,
            headers=_headers(http),
            body=(http.payload or "").encode(),
            verify_tls=not http.insecure,
            connect_s=_seconds(http.connectionTimeout),
            total_s=_seconds(http.operationTimeout),
            limit_bytes=LIMIT_BYTES,
        )
    )
    if answer.status not in (http.successCodes or _OK):
        raise SendFailed(f"the answer has status {answer.status}")
    return answer.body


def _url(http: wire.Http) -> str:
    port = f":{http.port}" if http.port else ""
    path = http.path or "/"
    slash = "" if path.startswith("/") else "/"
    return f"{http.protocol.value.lower()}://{http.hostname}{port}{slash}{path}"


def _headers(http: wire.Http) -> dict[str, str]:
    headers = dict(http.headers or {})
    if http.username is not None:
        pair = f"{http.username}:{http.password or ''}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    if http.authHeader is not None:
        headers["Authorization"] = http.authHeader
    return headers


def _seconds(duration: Duration | None) -> float:
    return min((duration or _SECOND).seconds, _LONGEST_S)
