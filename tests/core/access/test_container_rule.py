"""What containers may be given, by the operator's word only."""

from typing import Any

import pytest

from taskyard.core.access.container_rule import ENGINE_DEFAULTS, ContainerRule
from taskyard.core.errors import InvalidInput
from taskyard.core.resources import Resources
from taskyard.core.tasks import Container, Device, DeviceRequest

NONE = Resources()


def refused(setting: str, rule: ContainerRule, **members: Any) -> None:
    """It is refused, and the setting that would allow it is named."""
    with pytest.raises(InvalidInput, match=setting):
        rule.check(Container("busybox", **members), NONE)


def taken(rule: ContainerRule, **members: Any) -> None:
    """It is accepted."""
    rule.check(Container("busybox", **members), NONE)


@pytest.mark.parametrize(
    "network", ["host", "container:db", "ns:/proc/1/ns/net", "internal", "slirp4netns", "private"]
)
def test_networks_that_reach_others_are_closed(network: str) -> None:
    """The machine's, other containers', name spaces by path, and named ones."""
    refused("container_networks", ContainerRule(), network=network)
    taken(ContainerRule(networks=(network,)), network=network)


def test_a_task_may_ask_for_less_network_and_never_for_more() -> None:
    """Where the operator gives none, the engine's own is more."""
    for network in (None, "none", "bridge", "default"):
        taken(ContainerRule(), network=network)
    closed = ContainerRule(default_network="none")
    taken(closed, network="none")
    refused("container_networks", closed, network="bridge")
    own = ContainerRule(default_network="team")
    taken(own, network="team")
    refused("container_networks", own, network="default")


@pytest.mark.parametrize("name", ["SYS_ADMIN", "CAP_SYS_ADMIN", "ALL", "NET_RAW", "MKNOD"])
def test_capabilities_that_reach_the_machine_are_closed(name: str) -> None:
    """By either of their names, or all of them."""
    refused("container_capabilities", ContainerRule(), capabilities=(name,))
    taken(ContainerRule(capabilities=(name.removeprefix("CAP_"),)), capabilities=(name,))


def test_ordinary_capabilities_are_open() -> None:
    """Images expect them."""
    taken(ContainerRule(), capabilities=("NET_BIND_SERVICE", "CAP_CHOWN"))
    assert ContainerRule().withheld() == ["AUDIT_WRITE", "MKNOD", "NET_RAW"]
    assert ContainerRule(capabilities=("ALL",)).withheld() == []
    assert ContainerRule(capabilities=()).withheld() == list(ENGINE_DEFAULTS)


def test_devices_are_closed() -> None:
    """Each by its path; a path with dots is the path it means."""
    disk = Device("/dev/sda", "/dev/x")
    refused("container_devices", ContainerRule(), devices=(disk,))
    rule = ContainerRule(devices=("/dev/fuse",))
    refused("container_devices", rule, devices=(Device("/dev/fuse/../sda", "/dev/fuse"),))
    refused("container_devices", rule, devices=(Device("/dev", "/dev"),))
    taken(rule, devices=(Device("/dev/./fuse", "/dev/fuse"),))
    card = DeviceRequest("nvidia", -1)
    refused("container_device_drivers", rule, device_requests=(card,))
    taken(ContainerRule(device_drivers=("nvidia",)), device_requests=(card,))
    nameless = DeviceRequest("", -1, (), (("gpu",),))
    refused(
        "container_device_drivers", ContainerRule(device_drivers=("",)), device_requests=(nameless,)
    )
    taken(ContainerRule(device_drivers=("*",)), device_requests=(nameless, card))


def test_users_are_the_operators_where_there_are_any() -> None:
    """Names mean what the image says, so that only the written ids count."""
    taken(ContainerRule(), user="root")
    rule = ContainerRule(users=("1000:1000", "7:7"))
    for user in ("root", "0", "1000", "1000:0", "nobody"):
        refused("container_users", rule, user=user)
    taken(rule, user="7:7")
    assert rule.effective(Container("busybox")).user == "1000:1000"
    assert rule.effective(Container("busybox", user="7:7")).user == "7:7"


def test_processes_have_a_limit_that_no_task_lifts() -> None:
    """A task may ask for fewer."""
    work = Container("busybox")
    ContainerRule(pids=10).check(work, Resources(pids=10))
    with pytest.raises(InvalidInput, match="container_pids_limit"):
        ContainerRule(pids=10).check(work, Resources(pids=11))
    ContainerRule(pids=None).check(work, Resources(pids=4_000_000))


def test_variables_of_the_worker_are_taken_over_by_pattern() -> None:
    """What an earlier setting allowed is left out."""
    work = Container("busybox", inherited_env=("HTTP_PROXY", "AWS_SECRET"))
    assert ContainerRule(env=("HTTP_*",)).effective(work).inherited_env == ("HTTP_PROXY",)
    assert ContainerRule().effective(work).inherited_env == ()
