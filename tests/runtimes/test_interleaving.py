"""The order of writes to two pipes, from what the kernel says and from what was taken."""

import random
from collections.abc import Callable

import pytest

from taskyard.runtimes.output.interleaving import Interleaving, Run

OUT, ERR = 0, 1
Content = Callable[[int, int], bytes]


def _divided(written: list[tuple[int, bytes]], looks: list[int]) -> list[Run]:
    """What a reader that looks after so many writes each time makes of them.

    Of what is written while it looks, which is what it knows less well, there is always some.
    """
    found = Interleaving()
    runs: list[Run] = []
    begin = known = 0
    seen = [b"", b""]
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
        seen = [seen[0] + taken[0], seen[1] + taken[1]]
        runs += found.divide(sure, (len(taken[0]), len(taken[1])), _content(*seen))
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
    assert found.divide(2, (0, 0), _content()) == []
    found.written += [ERR, OUT]
    assert found.divide(2, (2, 2), _content(b"a\n", b"c\n")) == [(ERR, 2), (OUT, 2)]


def _content(out: bytes = b"", err: bytes = b"") -> Content:
    return lambda stream, count: (out, err)[stream][-count:]


def test_what_is_seen_before_its_signal_waits_for_it() -> None:
    """The signal is sent a moment after; only then its place is known."""
    found = Interleaving()
    found.written += [OUT, ERR]
    assert found.divide(2, (4, 2), _content(b"a\nc\n", b"b\n")) == []
    assert found.is_waiting
    assert not found.is_settled
    found.written += [OUT, ERR]
    assert found.divide(4, (0, 2), _content(b"a\nc\n", b"d\n")) == [
        *((OUT, 2), (ERR, 2)),
        *((OUT, 2), (ERR, 2)),
    ]
    assert found.is_settled


def test_a_signal_that_comes_late_stands_for_nothing_else() -> None:
    """Also where more was written than was looked at since, and it is not known how much."""
    found = Interleaving()
    found.written += [OUT, ERR]
    assert found.divide(2, (2, 4), _content(b"a\n", b"b\nc\n")) == [(OUT, 2)]
    found.written += [ERR, OUT, ERR]
    assert found.divide(3, (2, 0), _content(b"d\n", b"b\nc\n")) == [(ERR, 4), (OUT, 2)]
    assert found.divide(1, (0, 2), _content(b"", b"e\n")) == [(ERR, 2)]
    assert found.is_settled


def test_what_no_signal_comes_for_was_one_write() -> None:
    """Two lines at once look as if one of them had no signal yet, until that is overdue."""
    found = Interleaving()
    found.written += [OUT, ERR]
    both = _content(b"a\nb\n", b"c\n")
    assert found.divide(2, (4, 2), both) == []
    assert found.divide(2, (0, 0), both, waits=False) == [(OUT, 4), (ERR, 2)]
    assert found.is_settled
    found.written += [OUT]
    assert found.divide(1, (2, 2), _content(b"d\n", b"e\n"), waits=False) == [(OUT, 2), (ERR, 2)]
    assert found.is_settled


@pytest.mark.parametrize("seed", range(100))
def test_whenever_signals_come(seed: int) -> None:
    """One writer, who may be interrupted before each signal; a reader, anywhere while it looks."""
    dice = random.Random(seed)
    streams = [dice.choice((OUT, ERR)) for _ in range(60)]
    written = [(OUT, b"0\n"), (ERR, b"0\n")]
    written += [(stream, b"%d\n" % number) for number, stream in enumerate(streams)]
    found = Interleaving()
    runs: list[Run] = []
    moment = known = 0

    def content(stream: int) -> bytes:
        # The write of each number is done at its odd moment, and signalled at the next one.
        return b"".join(data for one, data in written[: (moment + 1) // 2] if one == stream)

    def take() -> None:
        nonlocal known, moment
        moment += dice.choice((0, 0, 0, 1, 2, 5))
        found.written += [one for one, _ in written[known : moment // 2]]
        known = max(known, moment // 2)

    taken = [b"", b""]
    while not (known >= len(written) and found.is_settled):
        take()
        sure = len(found.written)
        before = [len(one) for one in taken]
        for stream in (OUT, ERR):
            moment += dice.choice((0, 0, 1, 2))
            taken[stream] = content(stream)
        take()
        sizes = (len(taken[0]) - before[0], len(taken[1]) - before[1])
        runs += found.divide(sure, sizes, _content(*taken))
    assert _joined(runs) == _merged(written)


def test_what_one_stream_alone_brought_needs_no_look() -> None:
    """Until there is something of the other one."""
    found = Interleaving()
    found.written += [OUT, OUT]
    assert found.is_plain(2, (9, 0))
    assert found.is_settled
    assert not found.is_plain(0, (2, 0))
    found.written += [OUT]
    assert not found.is_plain(0, (2, 0))
    assert not found.is_plain(1, (2, 2))
    assert found.divide(1, (2, 2), _content(b"a\n", b"b\n"), waits=False) == [(OUT, 2), (ERR, 2)]
    found.written += [OUT]
    assert not found.is_plain(1, (2, 0))


def test_nothing_is_lost_when_it_begins_afresh() -> None:
    """What waits for an earlier write to be known is said."""
    found = Interleaving()
    found.written += [OUT, OUT, ERR]
    assert found.divide(1, (2, 2), _content(b"a\n", b"b\n")) == [(OUT, 2)]
    assert found.forget() == [(ERR, 2)]
    assert found.is_settled
    found.written += [OUT, ERR]
    assert found.divide(2, (4, 2), _content(b"a\nb\n", b"c\n")) == []
    assert found.forget() == [(OUT, 4), (ERR, 2)]
    assert found.is_settled
