"""What is printed of an attempt."""

import pytest

from taskyard.cli.task_view import format_confinement
from taskyard.sdk.models import Confinement


@pytest.mark.parametrize(
    ("held", "text"),
    [
        (Confinement("0"), "user 0, the server's own user, not isolated"),
        (
            Confinement("1900000000", "user", ("cpu", "memory")),
            "user 1900000000, a user of its workspace; limits enforced: cpu, memory",
        ),
        (
            Confinement("1000", "sandbox", (), ("memory",)),
            "user 1000, in a sandbox; NOT enforced: memory",
        ),
        (Confinement("", "container"), "in a container"),
    ],
)
def test_as_whom_and_how_limited_is_said_in_one_line(held: Confinement, text: str) -> None:
    """With what is not enforced in capitals."""
    assert format_confinement(held) == text
