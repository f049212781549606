"""What a machine offers, node by node, by what the kernel and the operator say."""

import os
from pathlib import Path

import pytest

from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import Topology
from taskyard.worker.topology import Holdings, cores_in, topology, within_holdings

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two nodes with two cores each, and one without any; processor 7 is not for this process."""
    nodes = {0: ("0-1", 4), 1: ("2,7,3", 8), 10: ("", 1)}
    for number, (cores, gib) in nodes.items():
        node = tmp_path / f"node{number}"
        node.mkdir()
        (node / "cpulist").write_text(f"{cores}\n")
        (node / "meminfo").write_text(
            f"Node {number} MemTotal:       {gib << 20} kB\nNode {number} MemFree: 1 kB\n"
        )
    (tmp_path / "possible").write_text("0-1\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    return tmp_path


def shown(found: Topology) -> list[tuple[int, tuple[int, ...], int]]:
    """Numbers, cores and GiB."""
    return [(one.number, one.cores, one.memory_bytes // GIB) for one in found.nodes]


def test_nodes_are_found(machine: Path) -> None:
    """With the processors this process may use; a node without any has nothing to offer."""
    found = topology(Holdings(), 99 * GIB, machine)
    assert shown(found) == [(0, (0, 1), 4), (1, (2, 3), 8)]
    assert found.pins_memory


def test_what_is_kept_back_is_not_offered(machine: Path) -> None:
    """Cores by number, memory by share, and no more than a cgroup allows in all."""
    holdings = Holdings(frozenset({0, 9}), memory_percent=50)
    assert shown(topology(holdings, 99 * GIB, machine)) == [(0, (1,), 2), (1, (2, 3), 4)]
    assert shown(topology(Holdings(), 6 * GIB, machine)) == [(0, (0, 1), 2), (1, (2, 3), 4)]
    assert within_holdings(Capacity(8, 4000, 8 * GIB), holdings) == Capacity(8, 3000, 4 * GIB)


def test_more_can_be_offered_than_there_is(machine: Path) -> None:
    """Each core several times under numbers of its own, which stand for the same processor."""
    holdings = Holdings(cpu_factor=2, memory_factor=3)
    found = topology(holdings, 99 * GIB, machine)
    assert found.free[0].cores == (0, 1, 10_000, 10_001)
    assert found.free[0].memory_bytes == 12 * GIB
    assert shown(found)[0] == (0, (0, 1), 4)
    assert within_holdings(Capacity(8, 4000, GIB), holdings) == Capacity(8, 8000, 3 * GIB)


@pytest.mark.parametrize("numa", [True, False])
def test_without_nodes_there_is_one(machine: Path, numa: bool) -> None:
    """Where the kernel tells of none, or nobody wants to know: memory is not pinned then."""
    root = machine / "none" if numa else machine
    found = topology(Holdings(numa=numa), 6 * GIB, root)
    assert shown(found) == [(0, (0, 1, 2, 3), 6)]
    assert not found.pins_memory


def test_this_machine_has_cores() -> None:
    """Whatever it is."""
    found = topology(Holdings(), GIB)
    assert {core for node in found.nodes for core in node.cores} == os.sched_getaffinity(0)


def test_lists_of_cores_are_read() -> None:
    """As the kernel writes them."""
    assert cores_in("0-2,8\n") == {0, 1, 2, 8}
    assert cores_in("") == frozenset()
    for wrong in ("x", "3-1", "-1", "1-", "0-99999999999", "1--2"):
        with pytest.raises(ValueError, match=r"\w"):
            cores_in(wrong)
