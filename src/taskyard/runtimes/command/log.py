"""The supervisor's log: trouble that it cannot report to anybody."""

import contextlib
import os
import time


def log_error(text: str) -> None:
    """Write to standard error, which is a file in the supervisor's directory. Never raises."""
    with contextlib.suppress(OSError):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.write(2, f"{stamp} {text.rstrip()}\n".encode())
