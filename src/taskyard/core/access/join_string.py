"""What a worker on another machine is given to join with, as one line of text."""

import base64
import binascii
import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from taskyard.core.access.redaction import RedactedStruct
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import WorkerId
from taskyard.core.instants import Instant

PREFIX: Final = "tyj1."
"""Says what it is, and which members to expect."""
MOST_BYTES: Final = 64 << 10
WORKER_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"
"""Names of credentials of workers, which are their ids."""
_NEWER: Final = re.compile(r"tyj[0-9]{1,9}\.")
_LETTERS: Final = re.compile(r"[A-Za-z0-9_-]*={0,2}")


class JoinAddress(Struct, frozen=True):
    """Where workers of an installation connect to. See :class:`JoinString`."""

    urls: tuple[str, ...]
    installation: str
    ca_pem: str | None = None


class JoinString(RedactedStruct, frozen=True, kw_only=True):
    """Where to connect to, and as whom."""

    urls: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=1024)], ...],
        Meta(min_length=1, max_length=64),
    ]
    """NATS servers, each ``nats://HOST:PORT`` or ``tls://HOST:PORT`` without any credential."""
    installation: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    """Of the control planes to work for."""
    name: Annotated[str, Meta(pattern=WORKER_NAME)]
    """The credential's name, which the worker has for its id."""
    secret: Annotated[str, Meta(min_length=1, max_length=1024)]
    """Proof of it: the password that goes with the name."""
    ca_pem: Annotated[str, Meta(max_length=MOST_BYTES)] | None = None
    """Who signs the servers' certificates; None: an authority that the machine knows."""
    tags: tuple[str, ...] = ()
    """Which the worker has besides those it is started with."""
    expires_at: Instant | None = None
    """From when on nobody joins with it; None: it does not expire."""

    @property
    def worker_id(self) -> WorkerId:
        """The worker that joins with it."""
        return WorkerId(self.name)

    @property
    def text(self) -> str:
        """The line. Whoever reads it can join."""
        encoded = base64.urlsafe_b64encode(msgspec.json.encode(self))
        return PREFIX + encoded.decode("ascii").rstrip("=")


def join_string(text: str) -> JoinString:
    """Read the line. Raises ``InvalidInput`` that shows nothing of it."""
    text = text.strip()
    if _NEWER.match(text) and not text.startswith(PREFIX):
        raise InvalidInput(
            "join",
            "is a join string of another release of Taskyard; install the release of the control"
            " planes here",
        )
    if not text.startswith(PREFIX):
        raise InvalidInput(
            "join",
            f"is not a join string, which begins with {PREFIX}; make one on a control plane"
            " with: taskyard worker token NAME",
        )
    body = text.removeprefix(PREFIX)
    damaged = "is damaged; copy the whole join string, which is one line without spaces"
    if len(body) > 2 * MOST_BYTES or _LETTERS.fullmatch(body) is None:
        raise InvalidInput("join", damaged)
    try:
        decoded = base64.urlsafe_b64decode(body.rstrip("=") + "=" * (-len(body.rstrip("=")) % 4))
        return msgspec.json.decode(decoded, type=JoinString)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        # The error could show a part of the secret.
        raise InvalidInput("join", damaged) from None
