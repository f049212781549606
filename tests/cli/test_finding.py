"""How the command line finds its server, and administers one that does not run."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from command_line import Inside, Program

from taskyard.cli import target as target_module
from taskyard.cli.environment import DEFAULT_DATA, Configuration, Environment
from taskyard.cli.errors import CommandError
from taskyard.cli.target import Target, find_target
from taskyard.store.sqlite.lock import DirectoryLock

NOTHING_NAMED = Environment(None, None, None, None, DEFAULT_DATA, Configuration())


def around(
    data: Path, config: Configuration | None = None, token: str | None = None
) -> Environment:
    """An environment that names no server."""
    return Environment(None, token, None, None, str(data), config or Configuration())


def test_a_configured_credential_stays_with_its_server(tmp_path: Path) -> None:
    """The token of the configured server is not sent to another one named by flag."""
    config = Configuration("http://mine:1", "mine")
    assert find_target(None, None, None, around(tmp_path, config)).token == "mine"
    assert find_target("http://other:1", None, None, around(tmp_path, config)).token is None
    assert find_target("http://mine:1", None, None, around(tmp_path, config)).token == "mine"


def test_the_data_directory_named_by_flag_goes_first(data: Path) -> None:
    """``--data`` leads to the control socket, whatever else is configured."""
    config = Configuration("http://mine:1", "mine")
    target = find_target(None, None, str(data), around(data, config))
    assert (target.url, target.local) == (f"unix:{data}/control.sock", True)


def test_a_token_goes_to_the_server_itself(data: Path, url: str) -> None:
    """With a credential of one's own, the address is used and not the control socket."""
    target = find_target(None, None, None, around(data, token="mine"))
    assert (target.url, target.token, target.local) == (url, "mine", False)


@pytest.mark.parametrize("dev", [True, False])
def test_dev_is_tried_only_when_the_server_says_so(tmp_path: Path, dev: bool) -> None:
    """Without a control socket the well-known token is used in development only."""
    file = {"pid": 1, "url": "http://127.0.0.1:8123", "control": "gone.sock", "dev": dev}
    (tmp_path / "server.json").write_text(json.dumps(file))
    if dev:
        target = find_target(None, None, None, around(tmp_path))
        assert target == Target("http://127.0.0.1:8123", "dev", found=target.found)
        return
    with pytest.raises(CommandError) as stop:
        find_target(None, None, None, around(tmp_path))
    assert stop.value.code == 69


@pytest.mark.parametrize(
    ("body", "token"),
    [
        (b'{"live":true,"ready":true,"checks":{},"dev":true}', "dev"),
        (b'{"live":true,"ready":true,"checks":{}}', None),
    ],
)
def test_a_server_at_the_default_address_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes, token: str | None
) -> None:
    """With the well-known token only if it says that this is good; not if a directory is named."""
    with listening(body) as url:
        monkeypatch.setattr(target_module, "DEFAULT_URL", url)
        monkeypatch.chdir(tmp_path)
        found = find_target(None, None, None, NOTHING_NAMED)
        assert (found.url, found.token, found.local) == (url, token, False)
        with pytest.raises(CommandError, match="none is running on"):
            find_target(None, None, str(tmp_path), NOTHING_NAMED)


def test_what_listens_at_the_default_address_has_to_be_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other programs use that port as well."""
    monkeypatch.chdir(tmp_path)
    with listening(b"<html>") as url:
        monkeypatch.setattr(target_module, "DEFAULT_URL", url)
        with pytest.raises(CommandError, match=f"none is listening at {url}"):
            find_target(None, None, None, NOTHING_NAMED)


@contextmanager
def listening(body: bytes) -> Iterator[str]:
    """Something that answers to everything with this; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_nothing_found_says_what_to_do(program: Program, tmp_path: Path) -> None:
    """Without any server the exit code is 69, and the sentence names the way out."""
    done = program("ls", TASKYARD_DATA=str(tmp_path / "none"))
    assert done.returncode == 69
    assert b"taskyard up" in done.stderr


def test_a_server_that_is_starting_is_not_to_be_stopped(program: Program, tmp_path: Path) -> None:
    """It holds the directory before it answers: one tries again."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    lock = DirectoryLock(data)
    lock.acquire()
    try:
        done = program("token", "create", "ci", "--role", "read", "--data", str(data))
    finally:
        lock.release()
    assert done.returncode == 75, done.stderr
    assert f"in use by process {os.getpid()}, a server that is starting".encode() in done.stderr
    assert b"Try again in a few seconds" in done.stderr
    assert b"stop" not in done.stderr


def test_configuration_file(program: Program, tmp_path: Path, url: str) -> None:
    """Address and credential come from the file of the directory or of the user."""
    (tmp_path / ".config" / "taskyard").mkdir(parents=True)
    file = tmp_path / ".config" / "taskyard" / "config.toml"
    file.write_text(f'url = "{url}"\nuser = "admin"\npassword = "secret"\n')
    assert program("ls", TASKYARD_DATA="none").returncode == 0
    (tmp_path / "taskyard.toml").write_text(f'url = "{url}"\ntoken = "wrong"\n')
    assert program("ls", TASKYARD_DATA="none").returncode == 77
    assert program("ls", "--url", url, "--token", "dev").returncode == 0
    (tmp_path / "taskyard.toml").write_text("url = ")
    assert program("ls").returncode == 2


def test_workspace_of_the_control_socket(inside: Inside, url: str) -> None:
    """At the control socket any workspace can be chosen; elsewhere the credential's only."""
    code, out, _ = inside("token", "create", "ci", "-w", "other", "--role", "write", "--json")
    token = json.loads(out)
    assert code == 0
    assert (token["workspace"], token["name"], token["role"]) == ("other", "ci", "write")
    assert token["token"].startswith("ty_")
    flags = ("--url", url, "--token", "dev")
    refused = inside("token", "create", "ci", "-w", "other", "--role", "write", *flags)
    assert refused[0] == 77
    assert json.loads(inside("token", "revoke", token["id"])[1]) == {"revoked": token["id"]}


def test_users_and_secrets_are_read_from_standard_input(program: Program) -> None:
    """Passwords and values come without the line end behind them, and never as arguments."""
    done = program(*("user", "add", "ann", "--role", "read", "--password-stdin"), stdin=b"pass\n")
    assert json.loads(done.stdout)["name"] == "ann"
    assert json.loads(program("user", "ls").stdout)[0]["role"] == "read"
    assert program("secret", "set", "db", "--value-stdin", stdin=b"x").returncode == 0
    assert json.loads(program("secret", "ls").stdout) == ["db"]
    assert program("secret", "set", "db", "--value-stdin").returncode == 2
    assert program("user", "add", "bob", "--role", "read").returncode == 2


def test_version_loads_neither_server_nor_store() -> None:
    """Printing the version loads nothing that it does not need."""
    script = (
        "import sys\nfrom taskyard.cli.main import run\ncode = run(['version'])\n"
        "print(sorted({'litestar', 'sqlite3', 'httpx2', 'rich.console', 'taskyard.core', "
        "'taskyard.sdk'} & set(sys.modules)), code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.splitlines()[1] == b"[] 0"


def test_client_commands_load_neither_server_nor_store(inside: Inside) -> None:
    """A client command needs the HTTP client and nothing of the server."""
    script = (
        "import sys\nfrom taskyard.cli.main import run\nrun(['ls', '--limit', '1'])\n"
        "bad = {'litestar', 'sqlite3', 'rich.console', 'asyncio', 'taskyard.core', 'click'}\n"
        "print(sorted(bad & set(sys.modules)))"
    )
    assert inside("ls")[0] == 0
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"[]"


def test_administration_without_a_server(program: Program, tmp_path: Path) -> None:
    """Tokens, users and secrets can be made in a data directory on which no server runs."""
    data = str(tmp_path / "fresh")
    flags = ("--workspace", "team", "--data", data)
    done = program("token", "create", "ci", "--role", "write", "--expires-in", "30d", *flags)
    token = json.loads(done.stdout)
    assert (done.returncode, token["workspace"], token["role"]) == (0, "team", "write")
    assert token["token"]
    assert token["expires_at"] is not None
    user = ("user", "add", "ann", "--role", "admin", "--password-stdin", *flags)
    assert program(*user, stdin=b"long enough\n").returncode == 0
    assert program(*user, stdin=b"long enough\n").returncode == 1
    assert program(*user, stdin=b"short").returncode == 65
    secret = ("secret", "set", "db", "--value-stdin", *flags)
    assert program(*secret, stdin=b"x").returncode == 0
