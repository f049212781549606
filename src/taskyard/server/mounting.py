"""The applications of the compatible dialects, by name."""

from collections.abc import Mapping

from litestar.types import ASGIApp
from msgspec.structs import replace

from taskyard.dialects.drove.app import drove_app
from taskyard.dialects.drove.cluster import Cluster
from taskyard.dialects.fastlane.app import fastlane_app
from taskyard.dialects.greencloud.app import greencloud_app
from taskyard.dialects.greencloud.auth import SignIn
from taskyard.dialects.gx.app import gx_app
from taskyard.dialects.http.dialect import DialectContext
from taskyard.server.app import Application
from taskyard.server.settings import Settings


def others(settings: Settings, context: DialectContext) -> Mapping[str, Application]:
    """Each makes an application for the prefix it is given, empty at a listener's root."""
    drove: list[Cluster] = []
    drove_settings = settings.drove
    if drove_settings.allowed_mount_dirs is None:
        # Refused by the worker anyhow; this way at once.
        allowed = settings.container_volumes
        drove_settings = replace(drove_settings, allowed_mount_dirs=allowed)

    def make_drove(prefix: str) -> ASGIApp:
        # What is remembered of the engine is remembered once, however many listeners show it.
        if not drove:
            drove.append(Cluster(context, drove_settings))
        return drove_app(context, drove_settings, prefix, drove[0])

    # Guesses at passwords are counted once, whichever listener they come to.
    sign_in = SignIn(context, settings.greencloud)

    return {
        "drove": make_drove,
        "fastlane": lambda prefix: fastlane_app(context, settings.fastlane, prefix),
        "greencloud": lambda prefix: greencloud_app(context, settings.greencloud, prefix, sign_in),
        "gx": lambda _prefix: gx_app(context, settings.gx),
    }
