"""The yardstick for commands: processes a second of a bare `posix_spawn` loop."""

import os
import time

PROGRAM = "/bin/true"


def spawns_per_s(duration_s: float) -> float:
    """Spawn `true` and wait for it, one after the other, nothing captured or stored."""
    environment = {"PATH": "/usr/bin:/bin"}
    begin = time.perf_counter()
    end = begin + duration_s
    count = 0
    while time.perf_counter() < end:
        process = os.posix_spawn(PROGRAM, [PROGRAM], environment)
        os.waitpid(process, 0)
        count += 1
    return count / (time.perf_counter() - begin)
