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
        ({"acme": {"email": "a@b"}, "other": {"email": "A@B"}}, "another"),
        ({"acme": {"password_hash": "x"}}, "no email"),
    ],
)
def test_wrong_accounts_are_named(accounts: dict[str, Any], said: str) -> None:
    """A credential that two accounts have would let one in as the other."""
    settings = msgspec.convert({"accounts": accounts}, GreenCloudSettings)
    with pytest.raises(InvalidInput) as wrong:
        settings.check("greencloud")
    assert wrong.value.field == "greencloud.accounts"
    assert said in wrong.value.problem


def test_a_password_has_to_be_hashed() -> None:
    """One that stands there in plain text is refused, and not shown."""
    account = {"email": "a@b", "password_hash": "plain text"}
    settings = msgspec.convert({"accounts": {"acme": account}}, GreenCloudSettings)
    with pytest.raises(InvalidInput, match="taskyard user hash") as wrong:
        settings.check("greencloud")
    assert wrong.value.field == "greencloud.accounts.acme.password_hash"
    assert "plain text" not in str(wrong.value)
    assert "plain text" not in repr(settings)


def test_the_least_quota_of_a_workspace_holds() -> None:
    """When several accounts share it."""
    accounts = {
        "one": Account(quota=5),
        "two": Account(quota=3, workspace="one"),
        "free": Account(workspace="one"),
        "other": Account(),
    }
    assert GreenCloudSettings(accounts=accounts).quotas() == {"one": 3}


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
