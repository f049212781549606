"""NATS servers that know users by their keys: a seed alone, and a JWT with its seed."""

import base64
import hashlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from natsserver import nats_server
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import PlaneId
from taskyard.transport.nats.errors import NatsUnavailable
from taskyard.transport.nats.messages import nats_messages
from taskyard.transport.nats.options import nats_options

pytestmark = pytest.mark.anyio
nkeys: Any = __import__("nkeys") if os.environ.get("CI") == "true" else pytest.importorskip("nkeys")
A = PlaneId("a")


def new_key(kind: str) -> Any:
    """A key pair of a user, an account or an operator."""
    assert os.environ.get("CI") != "true" or importlib.util.find_spec("nkeys") is not None
    nkeys = pytest.importorskip("nkeys")
    prefix = getattr(nkeys, f"PREFIX_BYTE_{kind}")
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), prefix=prefix)))


def jwt(kind: str, subject: Any, signed_by: Any, **claims: Any) -> str:
    """What NATS believes of somebody's key."""
    body: dict[str, Any] = {
        "iat": 1_700_000_000,
        "iss": signed_by.public_key.decode(),
        "name": kind,
        "sub": subject.public_key.decode(),
        "nats": {"type": kind, "version": 2, **claims},
    }
    digest = hashlib.sha256(json.dumps(body).encode()).digest()
    body["jti"] = base64.b32encode(digest).decode().rstrip("=")
    parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, body]
    signed = ".".join(_encoded(json.dumps(one).encode()) for one in parts)
    return f"{signed}.{_encoded(signed_by.sign(signed.encode()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def credentials(path: Path, user: Any, signed_by: Any) -> Path:
    """A file as ``nsc`` writes it."""
    limits = {"subs": -1, "data": -1, "payload": -1}
    text = jwt("user", user, signed_by, pub={}, sub={}, **limits)
    path.write_text(
        f"-----BEGIN NATS USER JWT-----\n{text}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )
    return path


async def refused(url: str, file: Path) -> str:
    """Why a connection did not come about."""
    with pytest.raises(NatsUnavailable) as error:
        async with nats_messages(nats_options(url, credentials=file), "t", A):
            pass
    return str(error.value)


async def test_a_jwt_lets_in(tmp_path: Path) -> None:
    """That of an account which the server knows; another one's is refused, in words."""
    operator, account, stranger = (new_key(kind) for kind in ("OPERATOR", "ACCOUNT", "ACCOUNT"))
    limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    known = jwt("account", account, operator, limits={**limits, "wildcards": True})
    config = tmp_path / "nats.conf"
    config.write_text(
        f"operator: {jwt('operator', operator, operator)}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {account.public_key.decode()}: {known} }}\n"
    )
    user = new_key("USER")
    with nats_server(tmp_path, "-c", str(config)) as server:
        file = credentials(tmp_path / "good.creds", user, account)
        async with nats_messages(nats_options(server.url, credentials=file), "t", A) as messages:
            assert messages.is_connected
        file = credentials(tmp_path / "other.creds", user, stranger)
        assert "the file of credentials" in await refused(server.url, file)


async def test_a_seed_lets_in(tmp_path: Path) -> None:
    """That of a key which the server knows."""
    user, stranger = new_key("USER"), new_key("USER")
    config = tmp_path / "nats.conf"
    config.write_text(f"authorization: {{ users: [ {{ nkey: {user.public_key.decode()} }} ] }}\n")
    with nats_server(tmp_path, "-c", str(config)) as server:
        file = tmp_path / "seed"
        file.write_bytes(user.seed + b"\n")
        async with nats_messages(nats_options(server.url, credentials=file), "t", A) as messages:
            assert messages.is_connected
        file.write_bytes(stranger.seed)
        assert "the file of credentials" in await refused(server.url, file)


@pytest.mark.parametrize(
    "text", ["", "x", "SUABC", "-----BEGIN NATS USER JWT-----\nx.y.z\n", "SA" + "A" * 56]
)
async def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    """At once: the library would look for a JWT in it forever."""
    file = tmp_path / "file"
    file.write_text(text)
    with pytest.raises(InvalidInput, match="neither a user's JWT with its seed") as error:
        nats_options("nats://h", credentials=file)
    assert error.value.field == "nats.credentials"


async def test_a_server_says_so_and_ends(tmp_path: Path) -> None:
    """With a status that tells that settings are to blame, or that NATS is not to be had."""
    file = tmp_path / "file"
    command = [str(Path(sys.executable).with_name("taskyard")), "up", "--dev", "--port", "0"]
    command += ["--data", str(tmp_path / "data"), "--database", "postgresql://u@127.0.0.1:1/d"]
    env = {**os.environ, "TASKYARD_NATS_CREDENTIALS": str(file)}
    with nats_server(tmp_path, "--auth", "secret") as server:
        command += ["--nats", server.url]
        file.write_text("x")
        told = await anyio.run_process(command, env=env, check=False)
        assert told.returncode == 2, told.stderr
        assert b"nats.credentials" in told.stderr
        assert b"Traceback" not in told.stderr
        env.pop("TASKYARD_NATS_CREDENTIALS")
        told = await anyio.run_process(command, env=env, check=False)
        assert told.returncode == 69, told.stderr
