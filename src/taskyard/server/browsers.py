"""Rules for browsers, from the settings."""

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Final

from taskyard.core.errors import InvalidInput
from taskyard.dialects.http.browsers import BrowserGuard, BrowserRules
from taskyard.dialects.http.origins import AllowedHosts, Origin, parse_authority, parse_origin
from taskyard.server.settings import Settings

_ENDPOINT: Final = re.compile(r"/gc/[^/]+(?:/result)?/?\Z")


def browser_guard_of(settings: Settings) -> BrowserGuard:
    """The rules of a server with these settings. Raises :class:`InvalidInput`."""
    return BrowserGuard(
        AllowedHosts(_names(settings)),
        _origins("allowed_origins", settings.allowed_origins),
        dev=settings.dev,
    )


def browser_rules_of(settings: Settings) -> dict[str, BrowserRules]:
    """How each dialect deals with browsers, by its name. Raises :class:`InvalidInput`."""
    fastlane = settings.fastlane
    named = [one for one in fastlane.cors_origins if one != "*"] if fastlane.cors else []
    return {
        "native": BrowserRules(token_in_query=b"access_token"),
        "gx": BrowserRules(token_in_query=b"api_key"),
        "fastlane": BrowserRules(
            asks_first=fastlane.cors,
            origins=frozenset(filter(None, map(parse_origin, named))),
        ),
        "greencloud": BrowserRules(is_public=lambda path: _ENDPOINT.match(path) is not None),
        "drove": BrowserRules(),
    }


def _names(settings: Settings) -> Iterable[str]:
    hosts = [settings.host, *(one.host for one in settings.listeners())]
    yield from settings.allowed_hosts
    yield from (one for one in hosts if not _is_wildcard(one))
    if settings.fastlane.server_name:
        authority = parse_authority(settings.fastlane.server_name)
        yield from [authority.host] if authority else []
    if not all(_is_loopback(one) for one in hosts):
        # Reached from other machines, which know it by its name.
        name = socket.gethostname()
        yield from (name, name.partition(".")[0], f"{name.partition('.')[0]}.local")


def _origins(setting: str, texts: Iterable[str]) -> frozenset[Origin]:
    found = set()
    for text in texts:
        origin = parse_origin(text.rstrip("/"))
        if origin is None:
            rule = "is not a valid origin, such as https://app.example or http://localhost:3000"
            raise InvalidInput(setting, f"{text!r} {rule}")
        found.add(origin)
    return frozenset(found)


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host.strip("*")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().removesuffix(".") == "localhost"
