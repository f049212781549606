"""The applications of the dialects of others, by name."""

from collections.abc import Mapping

from taskyard.dialects.gx.dialect import gx_app
from taskyard.dialects.http.host import Host
from taskyard.server.app import Application
from taskyard.server.settings import Settings


def others(settings: Settings, host: Host) -> Mapping[str, Application]:
    """Each makes an application for the prefix it is given, empty at a listener's root."""
    return {
        "gx": lambda _prefix: gx_app(host, settings.gx),
    }
