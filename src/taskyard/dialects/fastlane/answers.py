"""Documents as JSON answers, keys sorted as clients of the original see them."""

from typing import Any, Final

import msgspec

from taskyard.dialects.fastlane.errors import JSON_TYPE
from taskyard.dialects.http.answers import Answer

_ENCODER: Final = msgspec.json.Encoder(order="sorted")


def document_answer(document: Any, status: int = 200) -> Answer:
    """A document as JSON."""
    return Answer(status, _ENCODER.encode(document), (JSON_TYPE,))
