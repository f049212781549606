"""Join strings: what is made can be read, and nothing else; no error shows a secret."""

import base64

import msgspec
import pytest

from taskyard.core.access.join_string import PREFIX, JoinString, join_string
from taskyard.core.errors import InvalidInput
from taskyard.core.instants import Instant

GIVEN = JoinString(
    urls=("tls://10.0.0.1:4222", "tls://10.0.0.2:4222"),
    installation="3f2a",
    name="big-7",
    secret="s3cr3t-of-it",
    ca_pem="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    tags=("gpu",),
    expires_at=Instant(1_700_000_000_000_000),
)


def _line(**members: object) -> str:
    content = {**msgspec.to_builtins(GIVEN), **members}
    return PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(content)).decode().rstrip("=")


def test_what_is_made_can_be_read() -> None:
    """The text has everything, is one line, and may have white space around it."""
    assert join_string(GIVEN.text) == GIVEN
    assert join_string(f"  {GIVEN.text}\n") == GIVEN
    assert not set(GIVEN.text) & set(" \n=+/")


def test_unknown_members_are_passed_over() -> None:
    """A later version may add members."""
    assert join_string(_line(later=1)) == GIVEN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nats://10.0.0.1:4222",
        "tyj2.e30",
        "tyj1.",
        "tyj1.e30",
        "tyj1.e",
        "tyj1.é",
        "tyj1.//8",
        GIVEN.text[:-9],
        GIVEN.text + "*",
        PREFIX + "A" * 200_000,
        _line(name="Big"),
        _line(name="../x"),
        _line(name="a.b"),
        _line(installation="a.>"),
        _line(urls=[]),
        _line(secret=""),
    ],
)
def test_anything_else_is_refused_with_what_to_do(text: str) -> None:
    """The sentence tells where to get one, and shows nothing of what was given."""
    with pytest.raises(InvalidInput) as caught:
        join_string(text)
    assert "join string" in str(caught.value)
    assert GIVEN.secret not in str(caught.value)


def test_one_of_another_release_says_so() -> None:
    """It is not damaged: copying it again would not help."""
    with pytest.raises(InvalidInput, match="another release"):
        join_string("tyj2.e30")
    with pytest.raises(InvalidInput, match="damaged"):
        join_string("tyj1.e30")


def test_it_is_not_shown_with_its_secret() -> None:
    """Neither in tracebacks nor in the log."""
    assert GIVEN.secret not in repr(GIVEN)
    assert "big-7" in repr(GIVEN)
