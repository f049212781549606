"""Who we are: what tells our containers from those of everybody else on the same engine."""

import os
import uuid
from pathlib import Path
from typing import Final

ATTEMPT_LABEL: Final = "taskyard.attempt"
INSTALLATION_LABEL: Final = "taskyard.installation"


INSTALLATION: Final = "installation"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def installation_id(directory: Path) -> str:
    """The stable id of an installation, made the first time. Raises ``OSError``.

    Waits for the disk: for a thread. Two processes that begin at once agree on one id.
    """
    path = directory / INSTALLATION
    directory.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = directory / f".{INSTALLATION}.{os.getpid()}"
        with draft.open("w", encoding="ascii") as file:
            file.write(str(uuid.uuid4()))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii").strip()


def boot_id() -> str:
    """Tells one life of this machine from another; empty where it cannot be known."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""
