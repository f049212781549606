"""Engine hosts over TCP and TLS as pools of a served Taskyard."""

import json
from pathlib import Path

import pytest

from enginegate import Authority, gate, tls_gate
from engines import RealEngine
from served import await_state, serving

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("engines")]


def test_pools_of_tcp_and_tls_hosts_run_their_groups(
    engine: RealEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each group goes where it belongs; a host that cannot be trusted makes its tasks wait."""
    authority = Authority(tmp_path / "tls", "authority")
    stranger = Authority(tmp_path / "tls", "stranger")
    cert, key = authority.certify("client")
    with (
        gate(engine.socket) as plain,
        tls_gate(engine.socket, authority) as tls,
        tls_gate(engine.socket, stranger) as odd,
    ):
        hosts = {
            "plain": f"http://127.0.0.1:{plain.port}",
            "tls": f"tcp://127.0.0.1:{tls.port}",
            "odd": f"https://127.0.0.1:{odd.port}",
        }
        pools = [{"match": name, "hosts": [host]} for name, host in hosts.items()]
        monkeypatch.setenv("TASKYARD_POOLS", json.dumps(pools))
        monkeypatch.setenv("TASKYARD_CONTAINER_ENGINE", "off")
        monkeypatch.setenv("TASKYARD_CONTAINER_NETWORK", "none")
        monkeypatch.setenv("TASKYARD_CONTAINER_TLS_CA", str(authority.path))
        monkeypatch.setenv("TASKYARD_CONTAINER_TLS_CERT", str(cert))
        monkeypatch.setenv("TASKYARD_CONTAINER_TLS_KEY", str(key))
        with serving(tmp_path / "data") as served, served.client() as client:
            ids = {}
            for group in hosts:
                command = ["sh", "-c", "echo out; exit 7"]
                body = {"image": "busybox", "group": group, "command": command}
                ids[group] = client.post("/tasks", json=body).raise_for_status().json()["id"]
            for group in ("plain", "tls"):
                task = await_state(client, ids[group], "failed", within_s=60)
                assert task["exit_code"] == 7, task
                assert client.get(f"/tasks/{ids[group]}/logs/stdout").text == "out\n"
                attempts = client.get(f"/tasks/{ids[group]}/attempts").raise_for_status().text
                assert hosts[group].partition("://")[2].replace(":", "-") in attempts
            why = client.get(f"/tasks/{ids['odd']}/why").raise_for_status().json()
            assert why["state"] == "queued"
            assert "container_tls_ca" in why["summary"], why
    engine.clear()
