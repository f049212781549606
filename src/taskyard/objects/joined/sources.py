"""A worker's end: versions of functions, and their sources, as control planes tell them."""

import hashlib
from typing import Final

from taskyard.core.errors import StoreDamaged
from taskyard.core.functions.functions import Version
from taskyard.objects.joined.wire import (
    GET,
    VERSION,
    Found,
    Get,
    Range,
    Wanted,
    answered,
    encode,
)
from taskyard.ports.messages import PlaneMessages
from taskyard.ports.objects import LARGEST_READ_BYTES
from taskyard.ports.runtime import Assignment

ANSWER_S: Final = 30.0


class JoinedSources:
    """Implements ``ports.functions.VersionSource``."""

    def __init__(self, messages: PlaneMessages) -> None:
        self._messages = messages

    async def version(self, call: Assignment, number: int) -> Version:
        """See the port."""
        payload = encode(_wanted(call, number))
        answer = await self._messages.ask_planes(VERSION, payload, ANSWER_S)
        return answered(Found, answer).version

    async def bundle(self, call: Assignment, version: Version) -> bytes:
        """See the port."""
        wanted, content = _wanted(call, version.number), bytearray()
        while len(content) < version.size_bytes:
            payload = encode(Get(wanted, len(content), LARGEST_READ_BYTES))
            answer = await self._messages.ask_planes(GET, payload, ANSWER_S)
            part = answered(Range, answer).data
            if not part:
                break
            content += part
        if hashlib.sha256(content).hexdigest() != version.bundle:
            raise StoreDamaged(
                f"the source {version.bundle[:12]} is not what was deployed; deploy it again"
            )
        return bytes(content)


def _wanted(call: Assignment, number: int) -> Wanted:
    return Wanted(call.workspace, call.attempt_id, number)
