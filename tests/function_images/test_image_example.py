"""The example of the documentation, run as it stands there."""

import json
import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "function-images.md"


def say(sock: socket.socket, header: dict[str, Any], payload: bytes) -> None:
    """Send one frame."""
    head = json.dumps(header).encode()
    sock.sendall(struct.pack("!II", len(head), len(payload)) + head + payload)


def hear(sock: socket.socket) -> tuple[dict[str, Any], bytes]:
    """Receive one frame."""
    header, payload = struct.unpack("!II", sock.recv(8, socket.MSG_WAITALL))
    head = json.loads(sock.recv(header, socket.MSG_WAITALL))
    return head, sock.recv(payload, socket.MSG_WAITALL) if payload else b""


def test_the_example_answers_calls(tmp_path: Path) -> None:
    """It says hello, answers twice, counts what it printed, and ends with the connection."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    program = tmp_path / "handler.py"
    program.write_text(found[1], encoding="utf-8")
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        env = {**os.environ, "TASKYARD_FUNCTION_SOCKET": str(path)}
        with subprocess.Popen(
            [sys.executable, str(program)], env=env, stdout=subprocess.PIPE
        ) as process:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(20)
                assert hear(sock) == ({"ready": True}, b"")
                for count in (1, 2):
                    say(sock, {"id": "1", "headers": []}, b"Ada")
                    header, body = hear(sock)
                    assert body == b"Hello, Ada!"
                    assert header["status"] == 200
                    assert header["printed"] == [len("greeting Ada\n") * count, 0]
                say(sock, {"id": "1", "headers": []}, b"\xff")
                assert "UnicodeDecodeError" in hear(sock)[0]["error"]
            assert process.wait(20) == 0
            assert process.stdout is not None
            assert process.stdout.read() == b"greeting Ada\n" * 2
