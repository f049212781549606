"""What broken connections to engines mean, in words that say what to look at."""

import ssl
from collections.abc import Iterator
from typing import Final

import httpx2

_OWN: Final = "the settings container_tls_cert and container_tls_key"


def told(error: Exception, *, secure: bool) -> str:
    """Why an engine does not answer; ``secure`` if it is talked to over TLS."""
    said = str(error) or type(error).__name__
    if not secure:
        return said
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not accepted ({cause.verify_message}); check the setting "
                "container_tls_ca, and that the certificate names this host"
            )
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return f"it does not speak TLS ({said})"
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            return f"it refuses our certificate ({said}); check {_OWN}"
    if isinstance(error, httpx2.ReadError | httpx2.WriteError | httpx2.RemoteProtocolError):
        # Nobody who refuses a certificate has to say so, and what is said may get lost.
        return f"it closed the connection ({said}); if it always does, check {_OWN}"
    return said


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
