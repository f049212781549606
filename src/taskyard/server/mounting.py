"""Puts the applications of foreign dialects together."""

from taskyard.dialects.fastlane.app import fastlane_app
from taskyard.dialects.http.host import Host
from taskyard.server.app import Application
from taskyard.server.settings import Settings


def others(settings: Settings, host: Host) -> dict[str, Application]:
    """Each foreign dialect's maker, by name."""
    return {
        "fastlane": lambda prefix: fastlane_app(host, settings.fastlane, prefix),
    }
