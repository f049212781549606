"""Settings: where they come from, what is refused, what is documented."""

import base64
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taskyard.core.errors import InvalidInput
from taskyard.server.addresses import Address, parse_listen, url_of
from taskyard.server.pools import PoolSettings, core_pools, foreign_hosts, worker_of_host
from taskyard.server.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_later_sources_win(tmp_path: Path) -> None:
    """File, then environment, then overrides."""
    file = tmp_path / "s.toml"
    file.write_text('port = 1\nhost = "::1"\nlog_level = "error"\nurl = "http://client"\n')
    environ = {"TASKYARD_PORT": "2", "TASKYARD_LOG_LEVEL": "debug", "TASKYARD_URL": "x"}
    settings = Settings.load(file, {"port": 3}, environ)
    assert (settings.port, settings.host, settings.log_level) == (3, "::1", "debug")


@pytest.mark.parametrize("name", ["database_password", "database_password_file"])
def test_a_password_that_is_shared_is_ignored_without_a_database(tmp_path: Path, name: str) -> None:
    """From the environment; elsewhere it is a mistake."""
    environ = {f"TASKYARD_{name.upper()}": "/x"}
    assert getattr(Settings.load(None, {}, environ), name) is None
    url = "postgresql://me@h/db"
    assert str(getattr(Settings.load(None, {"database": url}, environ), name)) == "/x"
    file = tmp_path / "s.toml"
    file.write_text(f'{name} = "/y"\n')
    for settings in ({}, environ):
        with pytest.raises(InvalidInput, match="goes together with database"):
            Settings.load(file, {}, settings)
    with pytest.raises(InvalidInput, match="goes together with database"):
        Settings.load(None, {name: "/z"}, environ)


def test_file_in_the_working_directory_is_read(tmp_path: Path) -> None:
    """``taskyard.toml``, unless another one is named."""
    (tmp_path / "taskyard.toml").write_text('max_body_bytes = "1MiB"\nretention_count = 0\n')
    settings = Settings.load(None, {}, {})
    assert (settings.max_body_bytes, settings.retention_count) == (1 << 20, None)
    (tmp_path / "other.toml").write_text("")
    assert Settings.load(tmp_path / "other.toml", {}, {}).max_body_bytes == 8 << 20


def test_environment_is_text() -> None:
    """Numbers, switches, paths, sizes and lists."""
    environ = {
        "TASKYARD_DEV": "true",
        "TASKYARD_DATA": "/d",
        "TASKYARD_WORKER_CPU": "1.5",
        "TASKYARD_LOG_LIMIT_BYTES": "2k",
        "TASKYARD_RETENTION_AGE_S": "0",
        "TASKYARD_LISTEN": "native=127.0.0.1:1,native=[::1]:2",
    }
    settings = Settings.load(None, {}, environ)
    assert settings.dev
    assert settings.webhooks_may_go_private
    assert settings.data == Path("/d")
    assert settings.worker_cpu == 1.5
    assert settings.log_limit_bytes == 2000
    assert settings.retention_age_s is None
    assert settings.listeners() == [
        Address("native", "127.0.0.1", 1),
        Address("native", "::1", 2),
    ]


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"port": 70000}, "port", "65535"),
        ({"port": "many"}, "port", "whole number"),
        ({"prot": 1}, "prot", "known"),
        ({"log_format": "xml"}, "log_format", "xml"),
        ({"listen": ["nothing"]}, "listen", "NAME=HOST:PORT"),
        ({"listen": ["nats=127.0.0.1:1"]}, "listen", "use one of "),
        ({"listen": ["native=127.0.0.1:99999"]}, "listen", "NAME=HOST:PORT"),
        ({"max_body_bytes": "many"}, "max_body_bytes", "size"),
        ({"dev": True, "host": "0.0.0.0"}, "dev", "refuses"),  # noqa: S104 - refused
        ({"dev": True, "listen": ["native=10.0.0.1:1"]}, "dev", "10.0.0.1"),
        ({"dev": True, "host": "example.org"}, "dev", "example.org"),
        ({"secret_key": "x" * 44}, "secret_key", "base64"),
        ({"worker_reserved_cores": "1-"}, "worker_reserved_cores", "not a list of cores"),
        ({"worker_reserved_cores": "5-2"}, "worker_reserved_cores", "not a list of cores"),
        ({"worker_memory_percent": 49}, "worker_memory_percent", "50"),
        ({"worker_cpu_factor": 21}, "worker_cpu_factor", "20"),
        ({"pools": "nothing"}, "pools", "JSON"),
        ({"pools": [{}]}, "pools.0.hosts", "required"),
        ({"pools": [{"hosts": []}]}, "pools.0.hosts", "empty"),
        ({"pools": [{"hosts": ["local"], "match": "("}]}, "pools.0.match", "not a valid exp"),
        ({"pools": [{"hosts": ["local"], "max_running": 0}]}, "pools.0.max_running", "1"),
        ({"pools": [{"hosts": ["local"], "odd": 0}]}, "pools.0.odd", "known"),
        ({"pools": [{"hosts": ["ftp://h:1"]}]}, "pools.0.hosts", "tcp://HOST:PORT"),
        ({"pools": [{"hosts": ["tcp://h"]}]}, "pools.0.hosts", "tcp://HOST:PORT"),
        ({"pools": [{"hosts": ["tcp://h:99999"]}]}, "pools.0.hosts", "tcp://HOST:PORT"),
        ({"pools": [{"hosts": ["unix://relative"]}]}, "pools.0.hosts", "tcp://HOST:PORT"),
        ({"pools": [{"hosts": ["tcp://u:p@h:1"]}]}, "pools.0.hosts", "tcp://HOST:PORT"),
        ({"pools": [{"hosts": ["tcp://h:1", "https://h:1"]}]}, "pools.0.hosts", "same worker"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], field: str, said: str) -> None:
    """Which one, and why."""
    with pytest.raises(InvalidInput) as wrong:
        Settings.load(None, values, {})
    assert wrong.value.field == field
    assert said in wrong.value.problem


def test_pools_are_read_from_file_and_environment(tmp_path: Path) -> None:
    """In the order in which they are asked; hosts become workers with names of their own."""
    file = tmp_path / "s.toml"
    file.write_text(
        '[[pools]]\nmatch = "a"\nhosts = ["tcp://h:2375", "unix:///run/p.sock"]\n'
        'max_running = 3\nmemory_bytes = "2GiB"\n[[pools]]\nhosts = ["local"]\n'
    )
    first, second = Settings.load(file, {}, {}).pools
    assert (first.match, first.max_running, first.memory_bytes) == ("a", 3, 2 << 30)
    assert (second.match, second.hosts, second.max_running) == ("", ("local",), None)
    assert core_pools([first, second])[0].workers == {"h-2375", "unix-run-p.sock"}
    assert list(foreign_hosts([first, second, first])) == list(first.hosts)
    given = '[{"match": "b", "hosts": ["tcp://[::1]:2375"]}]'
    (third,) = Settings.load(file, {}, {"TASKYARD_POOLS": given}).pools
    assert worker_of_host(third.hosts[0]) == "1-2375"


def test_members_of_pools_are_documented() -> None:
    """All of them, and no others."""
    text = PAGE.read_text("utf-8").partition("| Member of a pool |")[2].partition("\n\n")[0]
    named = [
        name
        for row in text.splitlines()
        for name in re.findall(r"`(\w+)`", row[: row.find("|", 2)])
    ]
    assert sorted(named) == sorted(one.name for one in msgspec.structs.fields(PoolSettings))


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    """Missing, or no TOML."""
    (tmp_path / "bad.toml").write_text("port = = 1")
    for name in ("bad.toml", "missing.toml"):
        with pytest.raises(InvalidInput, match=name):
            Settings.load(tmp_path / name, {}, {})


def test_given_secret_key_is_taken() -> None:
    """Base64 of 32 bytes."""
    key = base64.b64encode(bytes(32)).decode()
    assert Settings.load(None, {"secret_key": key}, {}).secret_key == key


def test_every_setting_is_documented_with_its_default() -> None:
    """The reference page names the settings of this version, all of them and no others."""
    head = PAGE.read_text("utf-8").split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", head, re.MULTILINE))
    fields = {one.name: one for one in msgspec.structs.fields(Settings)}
    assert set(rows) == set(fields)
    for name, shown in rows.items():
        default = fields[name].default
        if isinstance(default, msgspec.Struct):
            continue
        if shown.startswith("`"):
            value = shown.strip("`")
            assert str(default).lower() == value, name


def test_every_setting_of_a_table_is_documented_with_its_default() -> None:
    """The same for the members of tables, which stand there behind their table's name."""
    text = PAGE.read_text("utf-8")
    for table in msgspec.structs.fields(Settings):
        if not isinstance(table.default, msgspec.Struct):
            continue
        found = re.findall(rf"^\| `{table.name}\.(\w+)` \| ([^|]+) \|", text, re.MULTILINE)
        fields = {
            one.name: getattr(table.default, one.name)
            for one in msgspec.structs.fields(type(table.default))
        }
        assert {name for name, _ in found} == set(fields), table.name
        for name, shown in found:
            default = fields[name]
            value = ",".join(default) if isinstance(default, tuple) else str(default).lower()
            if shown.startswith("`"):
                assert value == shown.strip("`"), name
            else:
                assert not default, name


def test_tables_come_from_all_sources(tmp_path: Path) -> None:
    """Member by member, the later source winning."""
    file = tmp_path / "s.toml"
    file.write_text('[fastlane]\npage_size = 5\nserver_name = "file"\n')
    environ = {
        "TASKYARD_FASTLANE_PAGE_SIZE": "7",
        "TASKYARD_FASTLANE_CORS_ORIGINS": "http://a,http://b",
        "TASKYARD_FASTLANE_DEBUG": "true",
    }
    found = Settings.load(file, {}, environ).fastlane
    assert (found.page_size, found.server_name, found.debug) == (7, "file", True)
    assert found.cors_origins == ("http://a", "http://b")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"page_size": 0}, "fastlane.page_size"),
        ({"pages": 1}, "fastlane.pages"),
        ({"workspace": "No Space"}, "fastlane.workspace"),
        ({"basic_auth_username": "ana"}, "fastlane.basic_auth_username"),
        ({"smtp_host": "mail"}, "fastlane.smtp_host"),
        ({"smtp_from": "no address"}, "fastlane.smtp_from"),
        ({"cors_origins": 5}, "fastlane.cors_origins"),
    ],
)
def test_wrong_members_of_a_table_are_named(values: dict[str, Any], field: str) -> None:
    """With the table in front."""
    with pytest.raises(InvalidInput) as wrong:
        Settings.load(None, {"fastlane": values}, {})
    assert wrong.value.field == field


def test_addresses_are_read_and_shown() -> None:
    """Also of the sixth version of IP."""
    assert parse_listen("native=[fe80::1]:80") == Address("native", "fe80::1", 80)
    assert url_of("0.0.0.0", 1) == "http://127.0.0.1:1"  # noqa: S104 - shown
    assert url_of("::", 2) == "http://[::1]:2"
    assert url_of("example.org", 3) == "http://example.org:3"


def test_container_engine_comes_from_where_its_clients_look() -> None:
    """``DOCKER_HOST`` counts unless ours is given; what is not for us is passed over."""
    here = {"DOCKER_HOST": "unix:///run/x.sock"}
    assert Settings.load(environ=here).container_engine == "unix:///run/x.sock"
    ours = {**here, "TASKYARD_CONTAINER_ENGINE": "off"}
    assert Settings.load(environ=ours).container_engine == "off"
    assert Settings.load(environ={"DOCKER_HOST": "ssh://host"}).container_engine == "auto"


def test_container_settings_are_checked() -> None:
    """Paths are absolute, addresses are addresses, a certificate has its key."""
    several = {"TASKYARD_CONTAINER_VOLUMES": "/srv, /data"}
    assert Settings.load(environ=several).container_volumes == ("/srv", "/data")
    for overrides in (
        {"container_engine": "nonsense"},
        {"container_volumes": ["relative"]},
        {"container_tls_cert": "/cert.pem"},
    ):
        with pytest.raises(InvalidInput):
            Settings.load(environ={}, overrides=overrides)


def test_what_is_shown_of_settings_has_no_secrets(tmp_path: Path) -> None:
    """In tables and maps likewise; numbers under such names are no secrets."""
    file = tmp_path / "taskyard.toml"
    file.write_text(
        """
        secret_key = "MARKERMARKERMARKERMARKERMARKERMARKERMARKERM="
        [worker_metadata]
        api_token = "MARKER"
        zone = "visible"
        [fastlane]
        basic_auth_username = "MARKER"
        basic_auth_password = "MARKER"
        smtp_password = "MARKER"
        [greencloud]
        token_s = 1234
        [greencloud.accounts.acme]
        key = "MARKER"
        tokens = ["MARKER2"]
        [gx.types."gx.tiny"]
        command = "true"
        env = { DB_PASSWORD = "MARKER" }
        """
    )
    settings = Settings.load(file, {}, {})
    assert "MARKER" in str(msgspec.to_builtins(settings, enc_hook=str))
    shown = f"{settings!r} {settings} {settings.__rich_repr__()} {[settings]}"
    assert "MARKER" not in shown
    for visible in ("1234", "visible", "acme", "gx.tiny"):
        assert visible in shown
