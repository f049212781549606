"""A registry of images on loopback that serves images made by tests."""

import base64
import contextlib
import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final

MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_MANIFESTS: Final = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<version>[^/]+)\Z")
_BLOBS: Final = re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>[^/]+)\Z")


class Registry:
    """Version 2 of the registry's HTTP API, as far as pulling needs it.

    Args:
        credentials: ``USER:PASSWORD`` that it asks for; None if anybody may pull.
    """

    def __init__(self, credentials: str | None = None) -> None:
        self.credentials = credentials
        self.stalls = threading.Event()
        """While set, layers begin and never come to an end."""
        self.pulled: list[str] = []
        """``NAME:VERSION`` of every manifest that was handed out."""
        self._ending = threading.Event()
        self._manifests: dict[tuple[str, str], bytes] = {}
        self._blobs: dict[str, bytes] = {}
        handler = type("Handler", (_Handler,), {"registry": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def push(
        self,
        name: str,
        tag: str,
        mark: str,
        *,
        program: bytes | None = None,
        command: Sequence[str] = ("sh",),
    ) -> str:
        """Offer an image of busybox whose file ``/mark`` says ``mark``; its digest.

        With a ``program``, that is its file ``/program``.
        """
        layer = _layer(mark, program)
        packed = gzip.compress(layer, 1, mtime=0)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Env": ["PATH=/bin"], "Cmd": list(command)},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
                "history": [{"created_by": "a test"}],
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": self._blob(_CONFIG, config),
                "layers": [self._blob(_LAYER, packed)],
            }
        ).encode()
        digest = _digest(manifest)
        self._manifests[name, tag] = self._manifests[name, digest] = manifest
        return digest

    def manifest(self, name: str, version: str) -> bytes | None:
        """By tag or digest; None if there is none."""
        return self._manifests.get((name, version))

    def blob(self, digest: str) -> bytes | None:
        """Configuration or layer; None if there is none."""
        return self._blobs.get(digest)

    def admits(self, authorization: str | None) -> bool:
        """Whether whoever says this may pull."""
        if self.credentials is None:
            return True
        wanted = base64.b64encode(self.credentials.encode()).decode()
        return authorization == f"Basic {wanted}"

    def stall(self) -> None:
        """Wait for as long as it stalls."""
        while self.stalls.is_set() and not self._ending.wait(0.05):
            pass

    def close(self) -> None:
        """Stop."""
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _blob(self, kind: str, content: bytes) -> dict[str, Any]:
        digest = _digest(content)
        self._blobs[digest] = content
        return {"mediaType": kind, "size": len(content), "digest": digest}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: ClassVar[Registry]

    def do_GET(self) -> None:
        """Answer."""
        with contextlib.suppress(ConnectionError):
            self._answer(self.command == "GET")

    do_HEAD = do_GET  # noqa: N815 - the base class wants this name

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _answer(self, with_body: bool) -> None:
        registry = self.registry
        if not registry.admits(self.headers.get("Authorization")):
            self._send(401, b"{}", "application/json", with_body)
            return
        if self.path == "/v2/":
            self._send(200, b"{}", "application/json", with_body)
            return
        found, kind = None, "application/octet-stream"
        if (match := _MANIFESTS.match(self.path)) is not None:
            found, kind = registry.manifest(match["name"], match["version"]), MANIFEST
            if found is not None and with_body:
                registry.pulled.append(f"{match['name']}:{match['version']}")
        elif (match := _BLOBS.match(self.path)) is not None:
            found = registry.blob(match["digest"])
        if found is None:
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            self._send(404, json.dumps(error).encode(), "application/json", with_body)
            return
        self._send(200, found, kind, with_body)

    def _send(self, status: int, body: bytes, kind: str, with_body: bool) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="tests"')
        if status == 200:
            self.send_header("Docker-Content-Digest", _digest(body))
        self.end_headers()
        if not with_body:
            return
        half = len(body) // 2 if kind == "application/octet-stream" else 0
        self.wfile.write(body[:half])
        if half:
            self.wfile.flush()
            self.registry.stall()
        self.wfile.write(body[half:])


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _layer(mark: str, own: bytes | None = None) -> bytes:
    program = shutil.which("busybox")
    assert program is not None
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in ("bin", "tmp", "etc", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        _add(tar, "bin/busybox", Path(program).read_bytes(), 0o755)
        _add(tar, "mark", mark.encode(), 0o644)
        if own is not None:
            _add(tar, "program", own, 0o755)
        for applet in ("sh", "cat", "sleep"):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return packed.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


@contextlib.contextmanager
def registry(credentials: str | None = None) -> Iterator[Registry]:
    """A registry that answers."""
    found = Registry(credentials)
    try:
        yield found
    finally:
        found.close()
