"""Lines of JSON, each encoded once wherever it goes. Standard library only."""

import json

from taskyard.runtimes.processes.proc import Json


def line(content: Json) -> bytes:
    """One line."""
    return json.dumps(content).encode() + b"\n"


def line_around(before: Json, name: str, content: bytes) -> bytes:
    """A line of a line, which becomes the last member of an object that is not empty."""
    return b'%s, "%s": %s}\n' % (json.dumps(before).encode()[:-1], name.encode(), content[:-1])
