"""The dialects this server speaks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from litestar import Router

from taskyard.dialects.native.dialect import native_router


@dataclass(frozen=True, slots=True)
class Dialect:
    """One HTTP API surface."""

    name: str
    prefix: str
    """Path on the main listener."""
    router: Callable[[str], Router]
    """Its routes below a prefix."""


DIALECTS: Final[dict[str, Dialect]] = {
    "native": Dialect("native", "/api/v1", native_router),
}
