"""Credentials for registries, from the text of a secret."""

import base64
from typing import Final

import msgspec
from msgspec import Struct

from taskyard.core.image_name import ImageName
from taskyard.runtimes.engine.errors import CannotRun

DEFAULT_REGISTRY: Final = "https://index.docker.io/v1/"


class _Credentials(Struct):
    username: str = ""
    password: str = ""
    identitytoken: str = ""


def auth_header(text: str, image: ImageName) -> str:
    """The value of ``X-Registry-Auth``. Raises :class:`CannotRun` if the secret is not JSON.

    The message names members only, never values.
    """
    try:
        found = msgspec.json.decode(text, type=_Credentials)
    except msgspec.DecodeError:
        found = _Credentials()
    if not found.identitytoken and not (found.username and found.password):
        raise CannotRun(
            "the secret with the registry's credentials has to be a JSON object with username and "
            "password, or identitytoken"
        )
    members = {"serveraddress": image.host or DEFAULT_REGISTRY}
    if found.identitytoken:
        members["identitytoken"] = found.identitytoken
    else:
        members |= {"username": found.username, "password": found.password}
    return base64.urlsafe_b64encode(msgspec.json.encode(members)).decode()
