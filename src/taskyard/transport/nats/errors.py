"""Why there is no connection to NATS, and what to do about it."""

import errno
import re
import ssl
from typing import Final

from taskyard.core.errors import Unavailable
from taskyard.transport.nats.options import LEAST_BYTES, NatsOptions

DENIED: Final = (
    "NATS does not let us in: the credential was revoked or does not hold any more, or no control "
    "plane is there to answer for it"
)


class NatsUnavailable(Unavailable):
    """NATS cannot be reached, or does not let us in."""


class LimitTooSmall(NatsUnavailable):
    """NATS takes only messages that are too small for us."""


class SubscriptionDenied(NatsUnavailable):
    """NATS does not let us listen to what we have to hear."""


def explain(error: BaseException | None, options: NatsOptions) -> str:
    """Why there is no connection, and what to do about it."""
    where = ", ".join(one.url for one in options.servers)
    text = "" if error is None or isinstance(error, TimeoutError) else str(error).strip()
    said = text.lower()
    if is_denial(error):
        return (
            f"NATS at {where} refuses the credentials; check the user and password, the token, or"
            " the file of credentials, or whether its configuration has what"
            " `taskyard cluster config` prints"
        )
    if isinstance(error, LimitTooSmall):
        return f"NATS at {where} takes too small messages: {text}; let it be {LEAST_BYTES} or more"
    if isinstance(error, SubscriptionDenied):
        return (
            f"NATS at {where} does not let us listen: {text}; allow its user to publish to and "
            "subscribe to taskyard.>"
        )
    if "secure connection not available" in said:
        return f"NATS at {where} does not offer TLS; use nats:// if that is meant"
    if "certificate" in said or "ssl" in said:
        check = "check nats.tls_ca, nats.tls_cert and nats.tls_key"
        return f"NATS at {where}: TLS failed: {text}; {check}"
    if "expecting info" in said or "json parse" in said:
        return f"what answers at {where} is not a NATS server"
    return f"NATS at {where} cannot be reached: {text or 'no answer'}; is nats-server running?"


def is_denial(error: BaseException | None) -> bool:
    """Whether NATS does not let us in as whom we say we are."""
    said = str(error).lower()
    return "authorization" in said or "authentication" in said


def is_of_connecting(error: BaseException) -> bool:
    """Whether it is one of those by which an attempt to connect fails."""
    from nats.errors import Error  # noqa: PLC0415 - an extra

    kinds = OSError | Error | TimeoutError | ValueError | SubscriptionDenied | LimitTooSmall
    return isinstance(error, kinds)


def is_refusal(error: BaseException | None) -> bool:
    """Whether a connection was refused at every address of a host: nothing listens there."""
    if isinstance(error, ConnectionRefusedError):
        return True
    # With several addresses the loop raises one error that lists them all.
    numbers = re.findall(r"\[Errno (\d+)\]", str(error)) if isinstance(error, OSError) else []
    return bool(numbers) and all(int(one) == errno.ECONNREFUSED for one in numbers)


def may_pass(error: BaseException | None) -> bool:
    """Whether it may be that the server only has not been started yet."""
    return isinstance(error, OSError | TimeoutError) and not isinstance(error, ssl.SSLError)


def says_little(error: BaseException) -> bool:
    """Whether it is the end of an attempt, and the reason was told before."""
    from nats.errors import NoServersError  # noqa: PLC0415 - an extra

    return isinstance(error, TimeoutError | NoServersError)
