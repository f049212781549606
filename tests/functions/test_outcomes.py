"""How what instances say is read: headers that cannot be sent, and what a trace is about."""

import pytest

from taskyard.core.attempts import StreamSize
from taskyard.core.output_index import FILE, STDOUT, encode
from taskyard.core.states import AttemptState, Reason
from taskyard.runtimes.function.outcomes import answered, summary
from taskyard.runtimes.function.output import within


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("x-a", "a\x01b", r"the header x-a contains a control character, '\x01'"),
        ("x-a", "a\x1b[31m", r"the header x-a contains a control character, '\x1b'"),
        ("x-a", "a\x7f", r"the header x-a contains a control character, '\x7f'"),
        ("x-a", "a\r\nb: c", r"the header x-a contains a control character, '\r'"),
        ("x-a", "\u20ac", "the header x-a contains a letter that no header can carry, '\u20ac'"),
        ("x a", "b", "'x a' is not the name of a header"),
        ("x:a", "b", "'x:a' is not the name of a header"),
        ("", "b", "'' is not the name of a header"),
        ("x\xe9", "b", "'x\xe9' is not the name of a header"),
    ],
)
def test_headers_that_http_cannot_carry_fail_the_call(name: str, value: str, wrong: str) -> None:
    """As the handler's fault, in words."""
    outcome, _ = answered({"status": 200, "headers": [[name, value]], "sizes": [0, 0, 0]}, b"")
    assert (outcome.state, outcome.reason) == (AttemptState.FAILED, Reason.FUNCTION_ERROR)
    assert outcome.message == f"the handler answered with something unusable: {wrong}"


def test_headers_that_http_can_carry_are_kept() -> None:
    """Letters of Latin-1 and tabs among them."""
    pairs = [["X-A_b.c", "caf\xe9\tau lait"], ["x-b", ""]]
    outcome, _ = answered({"status": 200, "headers": pairs, "sizes": [0, 0, 0]}, b"")
    assert outcome.result is not None
    assert outcome.result.headers == tuple((name, value) for name, value in pairs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'Traceback (most recent call last):\n  File "handler.py", line 1, in <module>\n'
            "    boom()\nValueError: the settings are\n{\n  'a': 1\n}\n",
            "ValueError: the settings are",
        ),
        (
            "Traceback (most recent call last):\n  x\nKeyError: 'a'\n\nDuring handling of the "
            "above exception, another exception occurred:\n\nTraceback (most recent call last):\n"
            "  y\nImportError: no\n",
            "ImportError: no",
        ),
        (
            "Error: Cannot find module 'x'\nRequire stack:\n- /a\n    at b (c) {\n"
            "  code: 'MODULE_NOT_FOUND',\n  requireStack: [ '/a' ]\n}",
            "Error: Cannot find module 'x'",
        ),
        (
            "/code/handler.js:3\nlet a;\n    ^\n\nSyntaxError: Identifier 'a' has already been "
            "declared\n    at x",
            "SyntaxError: Identifier 'a' has already been declared",
        ),
        ("TypeError [ERR_X]: no\n    at y {\n}", "TypeError [ERR_X]: no"),
        (
            "h.rb:1:in `x': no such thing (NameError)\nNameError: no such thing",
            "NameError: no such thing",
        ),
        ("the function's process ended", "the function's process ended"),
        ("{ code: 1,\n  b: 2\n}", "b: 2"),
        ("}", "}"),
        ("", ""),
    ],
)
def test_a_trace_is_summed_up_by_the_line_that_names_the_error(text: str, said: str) -> None:
    """Not by its last line, which may be a bracket."""
    assert summary(text) == said


def test_only_we_tell_the_order_of_what_was_printed() -> None:
    """An answer is JSON, in which nobody can claim one; an index as long as its output is cut."""
    said = {"sizes": [0, 2, 1], "error": "x", FILE: "claimed"}
    assert answered(said, b"oue")[1] == {"stdout": b"ou", "stderr": b"e"}
    index = encode(1, 1, STDOUT) * 2000
    _, printed = answered({**said, FILE: index}, b"oue")
    assert printed[FILE] == index
    kept, sizes = within(printed, 1)
    assert kept == {"stdout": b"o", "stderr": b"e", FILE: index[:16384]}
    assert sizes == {"stdout": StreamSize(1, 1), "stderr": StreamSize(1, 0)}
