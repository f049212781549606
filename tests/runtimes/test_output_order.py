"""What programs write to both streams is shown in the order in which they wrote it.

Each program here numbers what it writes, so that the true order is known.
"""

from pathlib import Path

import anyio
import pytest
from runtime_harness import RuntimeHarness

from taskyard.core import output_index
from taskyard.ports.runtime import Assignment
from whole_output import merged

pytestmark = pytest.mark.anyio

COUNT = 3000
SHELL = "i=0; while [ $i -lt {n} ]; do i=$((i+1)); {body}; done"
PYTHON = "import random, sys\nd = random.Random(7)\nn = 0\nwhile n < {n}:\n"
PROGRAMS = {
    "few": ["sh", "-c", "echo 1; echo 2 >&2; echo 3"],
    "reopened": ["sh", "-c", "echo 1 >/dev/stderr; echo 2; echo 3 >/dev/stderr; echo 4"],
    "in turns": ["sh", "-c", SHELL.format(n=COUNT, body="echo $i; i=$((i+1)); echo $i >&2")],
    "in processes": ["sh", "-c", SHELL.format(n=60, body="/bin/echo $i; i=$((i+1)); echo $i >&2")],
    "in the other's wake": [
        "sh",
        "-c",
        SHELL.format(n=COUNT, body="echo $i; i=$((i+1)); echo $i; i=$((i+1)); echo $i >&2"),
    ],
    "unbuffered": [
        *("python3", "-uc"),
        PYTHON.format(n=COUNT) + " n += 1\n print(n)\n n += 1\n print(n, file=sys.stderr)",
    ],
    "in bursts": [
        *("python3", "-uc"),
        PYTHON.format(n=COUNT) + " f = d.choice((sys.stdout, sys.stderr))\n"
        " for _ in range(d.randint(1, 9)):\n  n += 1\n  f.write(f'{n}\\n')",
    ],
    "in C": ["./alternate", str(COUNT)],
}
ALTERNATE = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **arguments) {
    for (int n = 1; n <= atoi(arguments[1]); n++) {
        char text[16];
        if (write(1 + (n - 1) % 2, text, sprintf(text, "%d\\n", n)) < 0)
            return 1;
    }
}
"""


def _shown(harness: RuntimeHarness, assignment: Assignment) -> list[bytes]:
    directory = harness.directory(assignment.attempt_id)
    streams = [
        path.read_bytes() if (path := directory / name).exists() else b""
        for name in ("stdout", "stderr")
    ]
    index = (directory / "order").read_bytes()
    sizes = (len(streams[0]), len(streams[1]))
    assert output_index.covered(index) == sizes
    runs = merged(index, sizes)
    return b"".join(
        streams[run.stream - 1][run.offset : run.offset + run.size_bytes] for run in runs
    ).splitlines()


@pytest.mark.parametrize("name", PROGRAMS)
async def test_the_order_is_the_one_of_the_writes(
    harness: RuntimeHarness, name: str, tmp_path: Path
) -> None:
    """However quickly they follow on each other."""
    argv = PROGRAMS[name]
    if argv[0] == "./alternate":
        source = tmp_path / "alternate.c"
        source.write_text(ALTERNATE)
        argv = [str(tmp_path / "alternate"), *argv[1:]]
        await anyio.run_process(["cc", "-O2", "-o", argv[0], str(source)])
    assignment = await harness.start(*argv)
    await harness.ended(assignment)
    lines = _shown(harness, assignment)
    assert lines == [b"%d" % (number + 1) for number in range(len(lines))]
    assert len(lines) in range(3, COUNT + 10)


async def test_many_lines_are_all_in_the_index(harness: RuntimeHarness) -> None:
    """However rough their order is."""
    script = "import sys\nfor n in range(150000):\n print(n)\n print(n, file=sys.stderr)"
    assignment = await harness.start("python3", "-uc", script)
    ended = await harness.ended(assignment)
    lines = _shown(harness, assignment)
    assert lines[:2000] == [b"%d" % (number // 2) for number in range(2000)]
    expected = sum(len(b"%d\n" % number) for number in range(150_000))
    assert (ended.stdout.stored_bytes, ended.stderr.stored_bytes) == (expected, expected)
