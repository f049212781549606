"""Deployments and their validation, the same for all dialects."""

import re
from typing import Final

from msgspec import Struct

from taskyard.core.errors import InvalidInput
from taskyard.core.functions.functions import IMAGE_ONLY, Function, Language, Limits, image_advice
from taskyard.core.image_name import parse_image
from taskyard.services.tasks.validation import SECRET_NAME

BUNDLE_BYTES: Final = 64 << 20
"""Largest source that is taken; dialects may take less."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


class Deployment(Struct, frozen=True):
    """What to deploy. None leaves what a function has, or takes the default for a new one."""

    bundle: bytes = b""
    """A zip or tar archive, or one file of source; empty if there is an image."""
    language: Language | None = None
    handler: str = ""
    """Path of the file with the handler; looked for when empty."""
    entry: str = "handle"
    dependencies: tuple[str, ...] = ()
    title: str | None = None
    description: str | None = None
    tags: tuple[str, ...] | None = None
    limits: Limits | None = None
    image: str = ""
    """Name of an image to run instead of source."""
    credentials: str = ""
    """Name of a secret with credentials for the image's registry; none if empty."""


def check_deployment(deployment: Deployment) -> None:
    """Raise :class:`InvalidInput` for the first member that breaks a rule."""
    if deployment.image:
        _check_image(deployment)
    else:
        _check_source(deployment)
    if len(deployment.bundle) > BUNDLE_BYTES:
        raise InvalidInput("source", f"has more than {BUNDLE_BYTES >> 20} MiB")
    _check_handler(deployment.handler)
    if not deployment.entry.isidentifier():
        raise InvalidInput("entry", "must be the name of a function")
    for one in deployment.dependencies:
        if not one.strip() or one.startswith("-") or len(one) > 255 or not one.isprintable():
            raise InvalidInput("dependencies", f"{one!r} is not a requirement")
    if deployment.limits is not None:
        check_limits(deployment.limits)


def _check_source(deployment: Deployment) -> None:
    if deployment.language is Language.IMAGE:
        raise InvalidInput("image", "is required: functions of this language have no source")
    if deployment.language in IMAGE_ONLY:
        raise InvalidInput("language", f"has no tool chain: {image_advice(deployment.language)}")
    if deployment.credentials:
        raise InvalidInput("credentials", "requires an image")
    if not deployment.bundle:
        raise InvalidInput("source", "is empty")


def _check_handler(handler: str) -> None:
    parts = handler.split("/")
    if handler and (len(handler) > 255 or not set(parts).isdisjoint({"", ".", ".."})):
        raise InvalidInput("handler", "must be a relative path inside the source")


def language_of(deployment: Deployment, known: Function | None) -> Language:
    """The language of a version. Raises :class:`InvalidInput` if it cannot be determined.

    ``known`` is the function, if there is one.
    """
    if deployment.image:
        return Language.IMAGE
    language = deployment.language or (known.language if known else None)
    if language is None:
        raise InvalidInput("language", "is required for a new function")
    if language is Language.IMAGE:
        raise InvalidInput("language", "is required: the function was an image until now")
    return language


def _check_image(deployment: Deployment) -> None:
    parse_image(deployment.image)
    if deployment.credentials and not SECRET_NAME.match(deployment.credentials):
        raise InvalidInput("credentials", "is not a valid name of a secret")
    if deployment.language not in {None, Language.IMAGE}:
        raise InvalidInput("language", "cannot be combined with an image")
    for field, given in (
        ("source", deployment.bundle),
        ("handler", deployment.handler),
        ("dependencies", deployment.dependencies),
    ):
        if given:
            raise InvalidInput(field, "cannot be combined with an image")


def check_limits(limits: Limits) -> None:
    """Raise :class:`InvalidInput` for limits out of range."""
    if not 0.001 <= limits.timeout_s <= 86_400:
        raise InvalidInput("limits.timeout_s", "must be from 0.001 to 86400 seconds")
    if limits.memory_bytes is not None and limits.memory_bytes < 1 << 20:
        raise InvalidInput("limits.memory", "must be at least 1 MiB")
    if limits.cpu_millis is not None and not 10 <= limits.cpu_millis <= 1_024_000:
        raise InvalidInput("limits.cpu", "must be from 0.01 to 1024 cores")
