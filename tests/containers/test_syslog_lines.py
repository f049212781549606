"""Output cut into lines, each handed over once."""

import re
from pathlib import Path

import pytest

from taskyard.core.syslog import TEXT_LIMIT
from taskyard.runtimes.container import syslog_lines as module
from taskyard.runtimes.container.syslog_lines import RECORD, SyslogLines
from taskyard.runtimes.engine.frames import STDERR, STDOUT
from taskyard.server.clock import SystemClock


class Hands:
    """Takes messages."""

    def __init__(self, directory: Path) -> None:
        self.messages: list[bytes] = []
        self.room = 1000
        self.lines = SyslogLines(directory, "tag", SystemClock(), self.hand)

    def hand(self, message: bytes) -> bool:
        """Take it, until there is no more room."""
        if self.room == 0:
            return False
        self.room -= 1
        self.messages.append(message)
        return True

    @property
    def texts(self) -> list[bytes]:
        """What was said."""
        return [one.split(b": ", 1)[1] for one in self.messages]


def test_lines_are_put_together_from_pieces(tmp_path: Path) -> None:
    """Of each stream by itself; empty ones are nothing; the last one needs no end."""
    hands = Hands(tmp_path)
    hands.lines.take(STDOUT, 0, b"on")
    hands.lines.take(STDERR, 0, b"err\n")
    hands.lines.take(STDOUT, 2, b"e\r\n\n\ntwo\nthr")
    assert hands.texts == [b"err", b"one", b"two"]
    hands.lines.take(STDOUT, 14, b"ee")
    hands.lines.end()
    assert hands.texts == [b"err", b"one", b"two", b"three"]
    assert [one[:4] for one in hands.messages] == [b"<27>", b"<30>", b"<30>", b"<30>"]
    assert re.match(rb"<30>\w{3} [ \d]\d [\d:]{8} \S+ tag: one\Z", hands.messages[1])


def test_output_that_is_offered_again_is_passed_over(tmp_path: Path) -> None:
    """Also in the middle of a line."""
    hands = Hands(tmp_path)
    hands.lines.take(STDOUT, 0, b"one\ntw")
    hands.lines.take(STDOUT, 0, b"one\n")
    hands.lines.take(STDOUT, 4, b"two\nthree\n")
    hands.lines.take(STDOUT, 0, b"one\ntwo\nthree\n")
    assert hands.texts == [b"one", b"two", b"three"]


def test_what_nobody_has_is_left_out(tmp_path: Path) -> None:
    """The line before it ends there."""
    hands = Hands(tmp_path)
    hands.lines.take(STDOUT, 0, b"one\ntw")
    hands.lines.take(STDOUT, 100, b"later\n")
    assert hands.texts == [b"one", b"tw", b"later"]


def test_long_lines_become_several_messages(tmp_path: Path) -> None:
    """And no more than one of them is held."""
    hands = Hands(tmp_path)
    line = bytes(range(32, 127)) * (3 * TEXT_LIMIT // 95)
    for position in range(0, len(line), 1000):
        hands.lines.take(STDOUT, position, line[position : position + 1000])
        assert len(hands.lines._streams[STDOUT].rest) < TEXT_LIMIT
    hands.lines.end()
    assert b"".join(hands.texts) == line
    assert max(map(len, hands.texts)) == TEXT_LIMIT


def test_a_later_process_goes_on_where_this_one_was(tmp_path: Path) -> None:
    """From the beginning of the line that was not complete."""
    first = Hands(tmp_path)
    first.lines.take(STDOUT, 0, b"one\ntwo\nthr")
    first.lines.record()
    second = Hands(tmp_path)
    second.lines.resume()
    second.lines.take(STDOUT, 0, b"one\ntwo\nthree\n")
    second.lines.end()
    assert first.texts + second.texts == [b"one", b"two", b"three"]
    third = Hands(tmp_path)
    third.lines.resume()
    third.lines.take(STDOUT, 0, b"one\ntwo\nthree\n")
    third.lines.end()
    assert third.texts == []


def test_what_was_not_taken_any_more_is_for_the_next_process(tmp_path: Path) -> None:
    """While everything stops, output still comes."""
    first = Hands(tmp_path)
    first.room = 1
    first.lines.take(STDOUT, 0, b"one\ntwo\nthr")
    first.room = 9
    first.lines.take(STDOUT, 11, b"ee\n")
    first.lines.end()
    assert first.texts == [b"one"]
    second = Hands(tmp_path)
    second.lines.resume()
    second.lines.take(STDOUT, 0, b"one\ntwo\nthree\n")
    assert second.texts == [b"two", b"three"]


def test_positions_are_written_while_output_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with every line."""
    hands = Hands(tmp_path)
    hands.lines.take(STDOUT, 0, b"one\n")
    assert not (tmp_path / RECORD).exists()
    monkeypatch.setattr(module, "_RECORD_S", 0.0)
    hands.lines.take(STDOUT, 4, b"two\n")
    assert (tmp_path / RECORD).read_bytes() == b'{"stdout":8,"stderr":0}'


@pytest.mark.parametrize("content", [b"", b"{", b'{"stdout":"x"}', b"\xff"])
def test_a_damaged_position_is_no_trouble(tmp_path: Path, content: bytes) -> None:
    """Lines come again then."""
    (tmp_path / RECORD).write_bytes(content)
    hands = Hands(tmp_path)
    hands.lines.resume()
    hands.lines.take(STDOUT, 0, b"one\n")
    assert hands.texts == [b"one"]


def test_a_position_that_cannot_be_written_is_no_trouble(tmp_path: Path) -> None:
    """The output goes on."""
    hands = Hands(tmp_path / "gone")
    hands.lines.take(STDOUT, 0, b"one\n")
    hands.lines.end()
    assert hands.texts == [b"one"]
