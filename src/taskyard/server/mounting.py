"""The applications of the dialects of others, by name."""

from collections.abc import Mapping

from litestar.types import ASGIApp

from taskyard.dialects.drove.cluster import Cluster
from taskyard.dialects.drove.dialect import drove_app
from taskyard.dialects.gx.dialect import gx_app
from taskyard.dialects.http.host import Host
from taskyard.server.app import Application
from taskyard.server.settings import Settings


def others(settings: Settings, host: Host) -> Mapping[str, Application]:
    """Each makes an application for the prefix it is given, empty at a listener's root."""
    drove: list[Cluster] = []

    def make_drove(prefix: str) -> ASGIApp:
        # What is remembered of the engine is remembered once, however many listeners show it.
        if not drove:
            drove.append(Cluster(host, settings.drove))
        return drove_app(host, settings.drove, prefix, drove[0])

    return {
        "drove": make_drove,
        "gx": lambda _prefix: gx_app(host, settings.gx),
    }
