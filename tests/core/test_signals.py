"""Names and numbers of signals."""

import signal

import pytest

from taskyard.core.signals import signal_name, signal_number


def test_every_number_has_a_name_that_leads_back() -> None:
    """Real-time signals included; 32 and 33 belong to the C library and have none."""
    for number in set(signal.valid_signals()) - {32, 33}:
        assert signal_number(signal_name(number)) == number


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGTERM", 15),
        ("TERM", 15),
        ("SIGRTMIN", int(signal.SIGRTMIN)),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMAX-1", signal.SIGRTMAX - 1),
        ("SIGRTMAX", int(signal.SIGRTMAX)),
    ],
)
def test_names_as_shells_and_engines_write_them(name: str, number: int) -> None:
    """With and without SIG, from both ends of the real-time signals."""
    assert signal_number(name) == number


@pytest.mark.parametrize(
    "name", ["", "SIG", "SIGNONE", "SIGRTMIN+99", "SIGRTMIN-1", "SIGRTMAX+1", "SIGRTMIN+", "15"]
)
def test_what_is_no_name(name: str) -> None:
    """Nothing is guessed."""
    assert signal_number(name) is None


def test_a_number_without_a_name() -> None:
    """It is shown as it is."""
    assert signal_name(200) == "SIG200"
