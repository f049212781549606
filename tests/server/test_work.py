"""As whom and how isolated work runs, by settings and by what the machine can do."""

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from taskyard.core.access.work_identity import Identity, Sandbox, WorkRule
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import WorkspaceName
from taskyard.server import work
from taskyard.server.settings import Settings
from taskyard.server.work import user_rule, warnings_of, work_rules

NO_ROOT = "the server is not run by root"
NO_BWRAP = "bubblewrap is not installed"


class Machine:
    """What it can do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.users: str | None = None
        self.sandbox: str | None = None
        self.euid = 0
        monkeypatch.setattr(work, "obstacle_to_users", lambda _first, _last: self.users)
        monkeypatch.setattr(work, "obstacle_to_sandbox", lambda: self.sandbox)
        monkeypatch.setattr(os, "geteuid", lambda: self.euid)

    def is_ordinary(self) -> None:
        """The server is run by an ordinary user."""
        self.users, self.euid = NO_ROOT, 1000


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One that can do everything, unless the test says otherwise."""
    return Machine(monkeypatch)


def settings(**values: Any) -> Settings:
    """These, and nothing of this machine's."""
    return Settings.load(Path("/dev/null"), {"data": Path("/nonexistent/d"), **values}, {})


def test_root_gives_each_workspace_a_user(machine: Machine) -> None:
    """Without a sandbox, which would cost each command some milliseconds."""
    rules = work_rules(settings())
    assert rules.default == WorkRule("workspace")
    assert rules.isolation == "users"
    assert warnings_of(rules) == ()
    machine.sandbox = NO_BWRAP
    assert work_rules(settings()).default == WorkRule("workspace")


def test_an_ordinary_user_sandboxes(machine: Machine) -> None:
    """With the directories that are allowed; under ``dev`` any."""
    machine.is_ordinary()
    rules = work_rules(settings())
    assert rules.default == WorkRule("server", Sandbox(()))
    assert rules.isolation == "sandbox"
    assert rules.may_share is False
    assert work_rules(settings(dev=True)).default.sandbox == Sandbox(None)
    given = settings(dev=True, work_directories=["/srv/a"])
    assert work_rules(given).default.sandbox == Sandbox(("/srv/a",))


def test_what_cannot_be_sandboxed_is_plain_and_says_so(machine: Machine) -> None:
    """With both reasons."""
    machine.is_ordinary()
    machine.sandbox = NO_BWRAP
    rules = work_rules(settings())
    assert rules.default == WorkRule()
    assert rules.isolation == "none"
    (said,) = warnings_of(rules)
    assert NO_ROOT in said
    assert NO_BWRAP in said


def test_an_operator_can_turn_walls_off(machine: Machine) -> None:
    """As root by one setting, as an ordinary user by the other; there is a warning anyway."""
    assert work_rules(settings(work_user="server")).isolation == "none"
    machine.is_ordinary()
    plain = work_rules(settings(work_sandbox="never"))
    assert plain.isolation == "none"
    assert warnings_of(plain)


def test_what_was_asked_for_and_cannot_be_is_refused(machine: Machine) -> None:
    """The message names the setting."""
    machine.is_ordinary()
    machine.sandbox = NO_BWRAP
    for values, field in (
        ({"work_user": "workspace"}, "work_user"),
        ({"work_sandbox": "always"}, "work_sandbox"),
        ({"workspace_work": {"b": {"user": "workspace"}}}, "workspace_work.b.user"),
        ({"workspace_work": {"b": {"sandbox": "always"}}}, "workspace_work.b.sandbox"),
        ({"workspace_work": {"b": {"user": "daemon"}}}, "workspace_work.b.user"),
    ):
        with pytest.raises(InvalidInput) as refused:
            work_rules(settings(**values))
        assert refused.value.field == field


def test_a_workspace_can_differ(machine: Machine) -> None:
    """What it leaves out is as for all."""
    del machine
    rules = work_rules(
        settings(
            work_directories=["/srv/all"],
            workspace_work={
                "a": {"user": "daemon"},
                "b": {"sandbox": "always"},
                "c": {"sandbox": "always", "directories": ["/srv/c"]},
                "d": {"user": "server"},
            },
        )
    )
    entry = pwd.getpwnam("daemon")
    of = {name: rules.of(WorkspaceName(name)) for name in "abcde"}
    assert of["a"] == WorkRule(Identity(entry.pw_uid, entry.pw_gid))
    assert of["b"] == WorkRule("workspace", Sandbox(("/srv/all",)))
    assert of["c"] == WorkRule("workspace", Sandbox(("/srv/c",)))
    assert of["d"] == WorkRule("server")
    assert of["e"] == rules.default == WorkRule("workspace")
    assert warnings_of(rules) == ("work of workspace d runs as the server itself",)


@pytest.mark.parametrize("user", ["root", "0", "no-such-user-here"])
def test_a_workspace_gets_no_user_that_is_none(machine: Machine, user: str) -> None:
    """Root is said by the word ``server``."""
    del machine
    with pytest.raises(InvalidInput, match="server"):
        work_rules(settings(workspace_work={"a": {"user": user}}))


def test_tasks_choose_users_only_where_no_workspace_has_one(machine: Machine) -> None:
    """One workspace that has a user would lose it by another's freedom."""
    del machine
    free = settings(work_user="server")
    assert user_rule(free, work_rules(free)).allowed is None
    one = settings(work_user="server", workspace_work={"a": {"user": "workspace"}})
    assert user_rule(one, work_rules(one)).allowed == frozenset()


def test_allowed_directories_do_not_show_the_data_directory(tmp_path: Path) -> None:
    """Neither above nor below it, nor by way of a link."""
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    for place in (tmp_path, data, data / "attempts", tmp_path / "link"):
        for values, field in (
            ({"work_directories": [str(place)]}, "work_directories"),
            (
                {"workspace_work": {"a": {"directories": [str(place)]}}},
                "workspace_work.a.directories",
            ),
        ):
            with pytest.raises(InvalidInput) as refused:
                Settings.load(Path("/dev/null"), {"data": data, **values}, {})
            assert refused.value.field == field


def test_workspaces_can_be_said_in_the_environment() -> None:
    """As JSON."""
    environ = {"TASKYARD_WORKSPACE_WORK": '{"a": {"sandbox": "never"}}'}
    loaded = Settings.load(Path("/dev/null"), {}, environ)
    assert loaded.workspace_work["a"].sandbox == "never"
    with pytest.raises(InvalidInput, match="JSON"):
        Settings.load(Path("/dev/null"), {}, {"TASKYARD_WORKSPACE_WORK": "a=b"})
