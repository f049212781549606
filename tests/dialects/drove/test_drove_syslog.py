"""Logging of type RSYSLOG: what is taken, what is refused, and what executors are told."""

from typing import Any

import pytest
from drove_world import DroveWorld, spec

from taskyard.core.tasks import Container, Syslog

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("given", "server", "tag"),
    [
        ({"server": "log"}, "udp://log:514", "{}"),
        ({"server": "log.example:601"}, "udp://log.example:601", "{}"),
        (
            {"server": "tcp://log:601", "tagPrefix": "a.", "tagSuffix": "-z"},
            "tcp://log:601",
            "a.{}-z",
        ),
        ({"server": "udp://[::1]:5140", "tagPrefix": ""}, "udp://[::1]:5140", "{}"),
    ],
)
async def test_output_goes_to_a_log_server(
    world: DroveWorld, given: dict[str, str], server: str, tag: str
) -> None:
    """With the instance's id in its tag; the task shows what was asked for."""
    logging = {"type": "RSYSLOG", **given}
    await world.create("T1", "hang", logging=logging)
    shown = await world.in_state("RUNNING")
    work = world.workers.given[0].work
    assert isinstance(work, Container)
    assert work.syslog == Syslog(server, tag.format(shown["instanceId"]))
    assert shown["loggingSpec"] == logging


async def test_without_it_nothing_goes_anywhere(world: DroveWorld) -> None:
    """Output is in the files."""
    await world.create("T1", "hang", logging={"type": "LOCAL", "maxSize": "10m", "maxFiles": 3})
    await world.in_state("RUNNING")
    work = world.workers.given[0].work
    assert isinstance(work, Container)
    assert work.syslog is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "logging.server must not be empty"),
        ({"server": ""}, "logging.server must not be empty"),
        ({"server": "tcp+tls://log:1"}, "logging.server has the unknown protocol 'tcp+tls'"),
        ({"server": "unix:///dev/log"}, "logging.server must be HOST:PORT"),
        ({"server": "log:99999"}, "logging.server has an invalid port"),
        ({"server": "log\r\nx"}, "logging.server must be HOST:PORT"),
        ({"server": "[:::]:1"}, "logging.server "),
        ({"server": "log", "tagPrefix": "a b"}, "logging.tagPrefix may have printable"),
        ({"server": "log", "tagSuffix": "\n"}, "logging.tagSuffix may have printable"),
        ({"server": "log", "tagSuffix": "x" * 101}, "logging.tagSuffix has more than 100"),
        ({"server": "log", "tagPrefix": "{{.Name}}"}, "logging.tagPrefix is taken as it is"),
    ],
)
async def test_what_is_no_server_or_no_tag_is_refused(
    world: DroveWorld, given: dict[str, Any], said: str
) -> None:
    """By its path, before anything is stored."""
    (problem,) = await world.refused(logging={"type": "RSYSLOG", **given})
    assert problem.startswith(said)


async def test_private_addresses_are_refused_where_webhooks_may_not_go(
    world: DroveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, if the address is written out; a name is judged when it is sent to."""
    sender: Any = world.wired.engine.tasks._sender
    while not hasattr(sender, "_targets"):
        sender = sender._sender
    monkeypatch.setattr(sender._targets, "_allow_private", False)
    for server in ("10.0.0.1:514", "tcp://127.0.0.1", "udp://[::1]:514"):
        (problem,) = await world.refused(logging={"type": "RSYSLOG", "server": server})
        assert problem.startswith("logging.server")
        assert "not allowed" in problem
    named = {"type": "RSYSLOG", "server": "log.example"}
    answer = await world.operate("CREATE", spec=spec(logging=named))
    assert answer.status_code == 200
