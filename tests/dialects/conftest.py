"""What tests of all dialects share: passwords whose hashes cost next to nothing."""

from collections.abc import Iterator
from functools import partial

import pytest
from argon2 import PasswordHasher


@pytest.fixture(scope="module", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    """Otherwise each takes a fifth of a second and 64 MiB, as it should elsewhere."""
    cheap = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taskyard.services.access.passwords.PasswordHasher", cheap)
        yield
