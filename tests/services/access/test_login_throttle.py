"""Guesses at secrets: who is slowed down, for how long, and who is not."""

import pytest

from fakes.clock import VirtualClock
from taskyard.core.errors import Overloaded
from taskyard.services.access import login_throttle
from taskyard.services.access.login_throttle import (
    FREE_TRIES_OF_SHARED,
    LoginThrottle,
    SecretCheck,
    source_of,
)

HERE = "192.0.2.7"


def guess(limiter: LoginThrottle, clock: VirtualClock, name: str | None, address: str) -> bool:
    """One wrong try; whether it was let through."""
    try:
        limiter.enter(name, address, clock.now())
    except Overloaded:
        return False
    return True


@pytest.mark.parametrize(
    ("address", "source"),
    [
        (None, None),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:C000:207", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no:address", "no:address"),
    ],
)
def test_sources(address: str | None, source: str | None) -> None:
    """IPv6 by its network, IPv4 inside IPv6 as IPv4."""
    assert source_of(address) == source


def test_changing_the_address_inside_a_network_does_not_help() -> None:
    """All of a /64 is one source; the next one is another."""
    limiter, clock = LoginThrottle(), VirtualClock()
    let = [guess(limiter, clock, "ann", f"2001:db8::{n:x}") for n in range(8)]
    assert let == [True] * 5 + [False] * 3
    assert guess(limiter, clock, "ann", "2001:db8:0:1::1")


def test_nobody_locks_out_others() -> None:
    """Neither the same name elsewhere nor, before long, other names at the same address."""
    limiter, clock = LoginThrottle(), VirtualClock()
    for _ in range(1000):
        guess(limiter, clock, "ann", HERE)
    assert guess(limiter, clock, "ann", "192.0.2.8")
    assert guess(limiter, clock, "bob", HERE)


def test_a_client_that_goes_on_with_an_old_password_does_not_hold_up_its_address() -> None:
    """For days, once a second: others at its address still get in."""
    limiter, clock = LoginThrottle(), VirtualClock()
    for _ in range(3 * 86_400 // 10):
        guess(limiter, clock, "ann", HERE)
        assert not limiter.is_paused("bob", HERE, clock.now())
        clock.advance(10)


def test_tokens_that_name_nobody_count_apart() -> None:
    """Past their own limit they wait, and passwords do not wait for them."""
    limiter, clock = LoginThrottle(), VirtualClock()
    let = [guess(limiter, clock, None, HERE) for _ in range(300)]
    assert let.count(True) == login_throttle.FREE_TOKENS_OF_ADDRESS
    assert not guess(limiter, clock, None, HERE)
    assert guess(limiter, clock, "ann", HERE)
    assert guess(limiter, clock, None, "192.0.2.8")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of addresses and of names, however long they are."""
    monkeypatch.setattr(login_throttle, "REMEMBERED", 50)
    limiter, clock = LoginThrottle(), VirtualClock()
    for n in range(500):
        guess(limiter, clock, "x" * 10_000 + str(n), f"192.0.2.{n % 250}")
    assert len(limiter._counts) == 50
    assert max(len(name or "") for name, _ in limiter._counts) <= 300
    check = SecretCheck(LoginThrottle(), clock)
    for n in range(500):
        assert check.judge("account", "secret", f"10.0.{n // 250}.{n % 250}", right=True)
    assert len(check._right) == 50


def test_a_right_secret_waits_too_unless_it_came_from_there_before() -> None:
    """Otherwise the answer would tell a guesser that it was the right one."""
    clock = VirtualClock()
    check = SecretCheck(LoginThrottle(), clock)
    assert check.judge("account", "right", "192.0.2.8", right=True)
    for n in range(FREE_TRIES_OF_SHARED):
        assert not check.judge("account", f"wrong {n}", HERE, right=False)
    with pytest.raises(Overloaded) as refused:
        check.judge("account", "right", HERE, right=True)
    assert refused.value.retry_after_s == 1
    assert check.judge("account", "right", "192.0.2.8", right=True)
    clock.advance(1)
    assert check.judge("account", "right", HERE, right=True)
    assert not check.judge("account", "wrong", HERE, right=False)
    assert check.judge("account", "right", HERE, right=True)
