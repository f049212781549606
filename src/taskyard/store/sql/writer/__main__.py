"""The store server as a process.

It ends when nobody can call it any more, after its last commit. Signals do not end it: those of a
terminal are meant for the server, whose last writes come after them.
"""

import gc
import os
import pickle
import signal
import socket
import sys

# structlog imports it to show tracebacks in colour: a quarter of the time in which this process is
# started, for what is read in logs.
sys.modules["rich"] = None  # type: ignore[assignment]

from taskyard.store.sql.writer.frames import REFUSED, fingerprint  # noqa: E402
from taskyard.store.sql.writer.server import StoreServer  # noqa: E402

_COLLECT_EVERY = (20_000, 20, 100)
"""As in the server: operations leave hardly any cycles behind."""


def main() -> None:
    """Serve one socket.

    The arguments are the socket's descriptor and the fingerprint of the program that calls; the
    database comes pickled on standard input.
    """
    if fingerprint() != sys.argv[2]:
        sys.exit(REFUSED)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # What SQLite makes beside the database takes after it; this is for everything else.
    os.umask(0o066)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_EVERY)
    # Pickled by this very program, as the fingerprint says.
    database = pickle.load(sys.stdin.buffer)  # noqa: S301
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        StoreServer(database, sock).run()


if __name__ == "__main__":
    main()
