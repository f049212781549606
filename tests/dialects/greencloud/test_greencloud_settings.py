"""The table of the dialect: what is refused, and what is never shown."""

from typing import Any

import msgspec
import pytest

from taskyard.core.errors import InvalidInput
from taskyard.dialects.greencloud.settings import Account, GreenCloudSettings


@pytest.mark.parametrize(
    ("accounts", "said"),
    [
        ({"Acme": {}}, "Acme"),
        ({"a.b": {}}, "a.b"),
        ({"acme": {"workspace": "A B"}}, "A B"),
        ({"acme": {"tokens": ["x", "x"]}}, "twice"),
        ({"acme": {"key": "x"}, "other": {"tokens": ["x"]}}, "twice"),
    ],
)
def test_wrong_accounts_are_named(accounts: dict[str, Any], said: str) -> None:
    """A credential that two accounts have would let one in as the other."""
    settings = msgspec.convert({"accounts": accounts}, GreenCloudSettings)
    with pytest.raises(InvalidInput) as wrong:
        settings.check("greencloud")
    assert wrong.value.field == "greencloud.accounts"
    assert said in wrong.value.problem


def test_wrong_proxies_are_named() -> None:
    """They have to be addresses or networks."""
    GreenCloudSettings(trusted_proxies=("10.0.0.0/8", "::1")).check("greencloud")
    with pytest.raises(InvalidInput, match="trusted_proxies"):
        GreenCloudSettings(trusted_proxies=("proxy",)).check("greencloud")


def test_credentials_are_not_shown() -> None:
    """Wherever settings are printed."""
    account = Account(key="secret-key", tokens=("secret-token",))
    assert "secret" not in repr(GreenCloudSettings(accounts={"acme": account}))
    assert "secret" not in str(list(account.__rich_repr__()))
