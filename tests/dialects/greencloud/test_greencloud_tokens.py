"""Access and refresh tokens, without a server."""

import jwt
import pytest

from taskyard.dialects.greencloud.settings import Account
from taskyard.dialects.greencloud.tokens import Claims, Kind, signed, verified

ACME = Account(key="acme-key", email="acme@example.org", password_hash="$argon2id$acme")
ACCOUNTS = {"acme": ACME, "rival": Account(key="rival-key")}
NOW = 1_000


@pytest.mark.parametrize("kind", list(Kind))
def test_a_token_says_what_was_signed(kind: Kind) -> None:
    """Until the very second of its end."""
    claims = Claims(kind, "acme", NOW + 60, "n1")
    token = signed(claims, ACME)
    assert verified(token, ACCOUNTS, NOW + 59) == claims
    assert verified(token, ACCOUNTS, NOW + 60) is None


def test_an_account_without_a_password_gives_none_for_it() -> None:
    """There is nothing to sign it with."""
    with pytest.raises(ValueError, match="gives out no tokens of this kind"):
        signed(Claims(Kind.PASSWORD, "rival", NOW + 60), ACCOUNTS["rival"])


def test_a_token_is_void_with_its_secret() -> None:
    """A new key, or an account that is gone."""
    token = signed(Claims(Kind.KEY, "acme", NOW + 60), ACME)
    assert verified(token, {"acme": Account(key="new-key")}, NOW) is None
    assert verified(token, {"rival": ACME}, NOW) is None


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        ({"kid": "acme", "typ": "gr"}, {"sub": "acme", "exp": NOW + 60, "jti": ""}),
        ({"kid": "rival", "typ": "gc"}, {"sub": "acme", "exp": NOW + 60, "jti": ""}),
        ({"kid": "acme", "typ": "gc"}, {"sub": "rival", "exp": NOW + 60, "jti": ""}),
        ({"kid": "acme", "typ": "gc"}, {"sub": "acme", "jti": ""}),
        ({"kid": "acme", "typ": "gc"}, {"sub": "acme", "exp": "9999", "jti": ""}),
        ({"kid": "acme", "typ": "gc"}, {"sub": "acme", "exp": NOW + 60}),
        ({"kid": "acme"}, {"sub": "acme", "exp": NOW + 60, "jti": ""}),
        ({"typ": "gc"}, {"sub": "acme", "exp": NOW + 60, "jti": ""}),
    ],
)
def test_what_was_not_signed_like_this_is_none(
    header: dict[str, str], payload: dict[str, object]
) -> None:
    """Not for another kind or account, nor without all that a token says."""
    key = signing_key(Claims(Kind.KEY, "acme", NOW + 60))
    assert verified(jwt.encode(payload, key, "HS256", header), ACCOUNTS, NOW) is None


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_no_other_algorithm_counts(algorithm: str) -> None:
    """The header cannot choose a weaker one, or none."""
    key: str | bytes = ""
    if algorithm != "none":
        key = signing_key(Claims(Kind.KEY, "acme", NOW + 60))
    payload = {"sub": "acme", "exp": NOW + 60, "jti": ""}
    token = jwt.encode(payload, key, algorithm, {"kid": "acme", "typ": "gc"})
    assert verified(token, ACCOUNTS, NOW) is None


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "gc.acme.1060..ff", "é.é.é", "\ud800.a.b", "x" * 5000]
)
def test_what_is_no_token_is_none(token: str) -> None:
    """Whatever a header may carry."""
    assert verified(token, ACCOUNTS, NOW) is None


def signing_key(claims: Claims) -> bytes:
    """The key a token of these claims was signed with; checks that it is."""
    from taskyard.dialects.greencloud import tokens  # noqa: PLC0415 - a private part, seen here only

    key = tokens._key("acme-key")
    jwt.decode(signed(claims, ACME), key, ["HS256"], {"verify_exp": False})
    return key
