"""What a worker offers by default."""

import os

from taskyard.worker.machine import capacity


def test_capacity_is_what_this_process_may_use() -> None:
    """Neither more processors nor more memory than the machine has, and at least eight slots."""
    found = capacity()
    assert 1 <= found.cpu_millis <= (os.cpu_count() or 1) * 1000
    assert 1 << 20 < found.memory_bytes <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found.slots >= 8


def test_what_is_given_wins() -> None:
    """An operator may offer more or less."""
    found = capacity(slots=3, cpu_millis=500, memory_bytes=1000)
    assert (found.slots, found.cpu_millis, found.memory_bytes) == (3, 500, 1000)
