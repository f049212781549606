"""Which names say that what stands under them is a secret.

Variables of an environment and headers are judged widely: whatever holds one of the words. Flags,
labels, metadata and members of URLs also have innocent names with these words in them (``author``,
``max_tokens``, ``keyboard``, ``--password-file``), and are judged word by word.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

SECRET_WORDS: Final = (
    "password",
    "passwd",
    "secret",
    "token",
    "key",
    "credential",
    "client_id",
    "auth",
)
"""The name of a variable that contains one of these, in any case, hides its value."""

HEADER_WORDS: Final = (*SECRET_WORDS, "cookie", "signature")
"""The same for headers, in which ``-`` counts as ``_``."""

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET: Final = frozenset(
    {
        *("password", "passwd", "passphrase", "passcode", "passwords", "pwd"),
        *("secret", "secrets", "token", "credential", "credentials"),
        *("apikey", "apitoken", "accesskey", "secretkey", "privatekey", "authtoken"),
        *("accesstoken", "refreshtoken", "cookie", "authorization", "bearer", "dsn"),
        *("signature", "otp", "cvv"),
    }
)
_KEY_KINDS: Final = frozenset(
    {
        *("api", "access", "account", "private", "secret", "signing", "encryption", "master"),
        *("license", "shared", "ssh", "service", "storage", "auth", "webhook", "client"),
    }
)
_AUTH_KINDS: Final = frozenset({"basic", "http", "proxy", "registry", "docker"})
_HARMLESS_ENDS: Final = frozenset(
    {
        *("file", "files", "path", "dir", "directory", "name", "names", "id", "ids", "ref"),
        *("url", "uri", "endpoint", "host", "hash", "count", "ttl", "type", "kind", "length"),
        *("size", "version", "policy", "stdin", "env", "var", "expires", "expiry", "expiration"),
        *("s", "ms", "seconds", "limit", "max", "min", "required", "enabled", "rotation"),
    }
)
_GENERIC: Final = frozenset({"token", "cookie", "signature", "bearer", "authorization", "dsn"})


def contains_secret_word(name: str, words: Sequence[str] = SECRET_WORDS) -> bool:
    """Whether a variable's name holds one of the words; the wide rule."""
    lowered = name.lower()
    return any(word.lower() in lowered for word in words)


@lru_cache(maxsize=4096)
def is_secret_header(name: str) -> bool:
    """Whether a header carries a credential, such as ``Authorization`` or ``Cookie``."""
    return contains_secret_word(name.replace("-", "_"), HEADER_WORDS)


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a flag, label, member or parameter of this name holds a secret; word by word."""
    words = [word.lower() for word in _WORDS.findall(name[:256])]
    if words[-2:] == ["client", "id"]:
        return True
    if not words or words[-1] in _HARMLESS_ENDS:
        return False
    if not _SECRET.isdisjoint(words):
        return True
    pairs = pairwise(words)
    return any(
        (second in {"key", "keys"} and first in _KEY_KINDS)
        or (second == "auth" and first in _AUTH_KINDS)
        for first, second in pairs
    )


@lru_cache(maxsize=4096)
def is_certain_name(name: str) -> bool:
    """Whether such a name is a secret's also in prose, where ``token:`` may mean anything."""
    return is_secret_name(name) and name.lower() not in _GENERIC
