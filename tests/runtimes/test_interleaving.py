"""The order of writes to two pipes, from what the kernel says and from what was taken."""

import random

import pytest

from taskyard.runtimes.output.interleaving import Interleaving, Run

OUT, ERR = 0, 1


def _divided(written: list[tuple[int, bytes]], looks: list[int]) -> list[Run]:
    """What a reader that looks after so many writes each time makes of them.

    Of what is written while it looks, which is what it knows less well, there is always some.
    """
    found = Interleaving()
    runs: list[Run] = []
    begin = known = 0
    for look in [*looks, len(written)]:
        end = max(look, known)
        # Signals up to `end`, and two more that come after it has seen how much there is.
        taken = [b"".join(data for one, data in written[begin:end] if one == s) for s in (0, 1)]
        found.written += [one for one, _ in written[known:end]]
        known = max(known, end)
        sure = len(found.written)
        later = min(len(written), end + 2)
        found.written += [one for one, _ in written[known:later]]
        known = max(known, later)
        runs += found.divide(sure, (len(taken[0]), len(taken[1])), taken.__getitem__)
        begin = end
    assert found.is_settled
    return runs


def _merged(written: list[tuple[int, bytes]]) -> list[Run]:
    runs: list[Run] = []
    for stream, data in written:
        if runs and runs[-1][0] == stream:
            runs[-1] = (stream, runs[-1][1] + len(data))
        else:
            runs.append((stream, len(data)))
    return runs


def _joined(runs: list[Run]) -> list[Run]:
    return _merged([(stream, b"x" * size) for stream, size in runs])


LINES = [(OUT, b"a\n"), (ERR, b"b\n"), (OUT, b"c\n")]
PARTS = [(one, part) for one, line in LINES for part in (line[:1], line[1:])]


@pytest.mark.parametrize("written", [LINES, PARTS], ids=["lines", "parts"])
def test_what_flowed_together_is_divided_again(written: list[tuple[int, bytes]]) -> None:
    """Lines that came in one write, or text and line end."""
    assert _divided(written, []) == [(OUT, 2), (ERR, 2), (OUT, 2)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("manner", ["lines", "parts", "bursts", "characters"])
def test_whenever_it_is_looked_at(manner: str, seed: int) -> None:
    """Also in the middle of a burst, and of a line."""
    dice = random.Random(seed)
    written: list[tuple[int, bytes]] = []
    for number in range(300):
        stream = dice.choice((OUT, ERR))
        for _ in range(dice.randint(1, 5) if manner == "bursts" else 1):
            text = b"%d" % number
            if manner == "parts":
                written += [(stream, text), (stream, b"\n")]
            elif manner == "characters":
                written.append((stream, b"."))
            else:
                written.append((stream, text + b"\n"))
    looks = sorted(dice.sample(range(len(written)), 30))
    assert _joined(_divided(written, looks)) == _merged(written)


def test_several_writes_for_each_line_and_several_lines_a_write() -> None:
    """What is known is how many there were, and that each line took as many as any other."""
    pieces = [(ERR, b"x="), (ERR, b"1"), (ERR, b"\n")]
    assert _divided([*pieces, (OUT, b"a\n"), *pieces], []) == [(ERR, 4), (OUT, 2), (ERR, 4)]
    double = (OUT, b"1\n2\n")
    assert _divided([double, (ERR, b"b\n"), double], []) == [(OUT, 4), (ERR, 2), (OUT, 4)]


def test_writes_that_brought_nothing_do_no_harm() -> None:
    """As a full pipe has it: what comes later is not taken for theirs."""
    found = Interleaving()
    found.written += [OUT, OUT]
    assert found.divide(2, (0, 0), lambda _: b"") == []
    found.written += [ERR, OUT]
    assert found.divide(2, (2, 2), lambda _: b"c\n") == [(ERR, 2), (OUT, 2)]


def test_what_is_seen_before_its_signal_comes_last() -> None:
    """The signal is sent a moment after; once it is there it stands for nothing more."""
    found = Interleaving()
    found.written += [OUT, ERR]
    assert found.divide(2, (2, 4), lambda _: b"b\nc\n") == [(OUT, 2), (ERR, 4)]
    found = Interleaving()
    found.written += [OUT]
    assert found.divide(1, (2, 2), lambda _: b"") == [(OUT, 2), (ERR, 2)]
    found.written += [ERR, OUT, ERR]
    assert found.divide(3, (2, 2), lambda _: b"d\n") == [(OUT, 2), (ERR, 2)]


def test_nothing_is_lost_when_it_begins_afresh() -> None:
    """What waits for an earlier write to be known is said."""
    found = Interleaving()
    found.written += [OUT, OUT, ERR]
    assert found.divide(1, (2, 2), lambda _: b"a\n") == [(OUT, 2)]
    assert found.forget() == [(ERR, 2)]
    assert found.is_settled
