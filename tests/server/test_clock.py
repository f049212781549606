"""Identifiers of a real process."""

import time
import uuid

import anyio
import pytest

from taskyard.server.clock import SystemClock, SystemIds


def test_task_ids_are_uuids_of_version_7_and_differ() -> None:
    """RFC 9562: version, variant, and the time in front."""
    ids = SystemIds()
    made = [ids.task() for _ in range(20_000)]
    assert len(set(made)) == len(made)
    for one in made[::1000]:
        parsed = uuid.UUID(one)
        assert (parsed.version, str(parsed)) == (7, one)
        assert abs((parsed.int >> 80) / 1000 - time.time()) < 60
    assert [one[:13] for one in made] == sorted(one[:13] for one in made)


def test_random_numbers_lie_between_zero_and_one() -> None:
    """Evenly, as far as a few can show."""
    ids = SystemIds()
    drawn = [ids.chance() for _ in range(5000)]
    assert 0 <= min(drawn) < 0.1
    assert 0.9 < max(drawn) < 1
    assert len({ids.lease() for _ in range(1000)}) == 1000
    assert len(ids.incarnation()) == 32


@pytest.mark.anyio
async def test_clock_tells_and_waits() -> None:
    """Microseconds since 1970; a sleep that is not positive returns at once."""
    clock = SystemClock()
    assert abs(clock.now() / 1e6 - time.time()) < 5
    with anyio.fail_after(1):
        await clock.sleep(-5)
