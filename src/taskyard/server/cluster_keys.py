"""The keys of an installation in NATS, all made from its one key (``secret.key``).

So every control plane has them without being given anything further, nothing of them is stored or
sent, and the configuration of a NATS server holds public halves only.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from taskyard.server.certificates import Authority
from taskyard.transport.nats.auth_callout import ACCOUNT
from taskyard.transport.nats.nkeys import KeyPair, Kind

SYSTEM: Final = "SYS"
"""The system account of a server of our own."""
PURPOSES: Final = ("nats plane", "nats system", "nats issuer", "nats authority")
"""What seeds are derived for from the installation's key."""
CHECK_S: Final = 5
"""Seconds that a NATS server waits for control planes to say whom to let in."""


@dataclass(frozen=True, slots=True)
class ClusterKeys:
    """Who we are to NATS, and who signs for us."""

    plane: KeyPair
    """Of all control planes."""
    system: KeyPair
    """Of control planes where they need the system account."""
    issuer: KeyPair
    """Signs what workers may do."""
    authority: Authority
    """Signs certificates."""


async def cluster_keys(derive: Callable[[str], Awaitable[bytes]]) -> ClusterKeys:
    """The keys that come from an installation's key. Raises as ``derive``."""
    return keys_of([await derive(purpose) for purpose in PURPOSES])


def keys_of(seeds: list[bytes]) -> ClusterKeys:
    """The keys of these seeds, in the order of :data:`PURPOSES`."""
    plane, system, issuer, authority = seeds
    return ClusterKeys(
        KeyPair(Kind.USER, plane),
        KeyPair(Kind.USER, system),
        KeyPair(Kind.ACCOUNT, issuer),
        Authority(authority),
    )


def server_accounts(keys: ClusterKeys) -> dict[str, Any]:
    """What a NATS server's configuration has to say about accounts; there is no secret in it."""
    return {
        "accounts": {
            ACCOUNT: {"users": [{"nkey": keys.plane.public}]},
            SYSTEM: {"users": [{"nkey": keys.system.public}]},
        },
        "system_account": SYSTEM,
        "authorization": {
            "timeout": CHECK_S,
            "auth_callout": {
                "issuer": keys.issuer.public,
                "account": ACCOUNT,
                "auth_users": [keys.plane.public, keys.system.public],
            },
        },
    }


def server_config(keys: ClusterKeys) -> str:
    """The same as text for a person to put into a configuration file."""
    content = server_accounts(keys)
    lines = [
        "# Lets the control planes of a Taskyard installation in by their key, and has them asked",
        "# about everybody else: workers. There is no secret in it. If the server has a system",
        f"# account already, put the user of {SYSTEM} into that one instead.",
    ]
    # Its own language has JSON in it.
    lines += [f"{name}: {json.dumps(value, indent=2)}" for name, value in content.items()]
    return "\n".join(lines)
