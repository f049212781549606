"""Times before lines."""

from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.line_times import LineTimes


def test_the_time_is_that_of_a_line_s_begin() -> None:
    """Lines may come in pieces, and streams by turns."""
    times = LineTimes()
    assert times.stamped("stdout", "1", b"a") == b"1 a"
    assert times.stamped("stderr", "2", b"x\n") == b"2 x\n"
    assert times.stamped("stdout", "3", b"b\nc\n\n") == b"b\n3 c\n3 \n"
    assert times.stamped("stdout", None, b"d") == b"- d"
    assert times.stamped("stdout", "5", b"") == b""


@given(st.lists(st.text(alphabet="ab\n", max_size=6)))
def test_without_the_times_the_output_is_as_it_was(pieces: list[str]) -> None:
    """However it is cut; every line has exactly one."""
    times = LineTimes()
    out = b"".join(times.stamped("stdout", "T", piece.encode()) for piece in pieces).decode()
    text = "".join(pieces)
    lines = text.splitlines(keepends=True)
    assert out == "".join("T " + line for line in lines)
