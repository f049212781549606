"""Which program this is: two processes that exchange records have to agree on what they look like.

Records travel by the position of their members. A server whose program was replaced on disk while
it runs must not be given a store process of the new one: what they exchange would be misread, and
stored so.
"""

import hashlib
from pathlib import Path
from typing import Final

import taskyard

REFUSED: Final = 75
"""How the process ends that is of another program."""
_PARTS: Final = ("core", "ports", "store")


def fingerprint() -> str:
    """Tells one program from another, by the sizes and times of its sources. Blocks."""
    root = Path(taskyard.__file__).parent
    digest = hashlib.blake2b(digest_size=16)
    for part in _PARTS:
        for path in sorted((root / part).rglob("*.py")):
            status = path.stat()
            line = f"{path.relative_to(root)} {status.st_size} {status.st_mtime_ns}\n"
            digest.update(line.encode())
    return digest.hexdigest()
