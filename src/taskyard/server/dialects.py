"""The dialects this server speaks, and where each is found on the main listener."""

from typing import Final

PREFIXES: Final[dict[str, str]] = {
    "native": "/api/v1",
    "gx": "/gx",
    "fastlane": "/fastlane",
    "greencloud": "/greencloud",
    "drove": "/drove",
}
