"""``taskyard user hash``: what an operator writes into the configuration file."""

import io
import json
import sys

import pytest
from argon2 import PasswordHasher

from taskyard.cli.main import run


def typed(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    """Let this be the standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


def test_the_hash_of_a_password(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """It verifies the password, and is another one each time."""
    hashes = []
    for _ in range(2):
        typed(monkeypatch, b"a good password\n")
        assert run(["user", "hash", "--password-stdin"]) == 0
        hashes.append(json.loads(capfdbinary.readouterr()[0])["password_hash"])
    assert hashes[0] != hashes[1]
    assert PasswordHasher().verify(hashes[0], "a good password")


@pytest.mark.parametrize(
    ("text", "words"), [(b"short", "8 to 256"), (b"", "empty"), (b"\xff" * 9, "UTF-8")]
)
def test_what_is_no_password(
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    text: bytes,
    words: str,
) -> None:
    """Nothing is printed, and the reason is told."""
    typed(monkeypatch, text)
    assert run(["user", "hash", "--password-stdin", "--json"]) == 2
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert words in json.loads(err)["error"]
