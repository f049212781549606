"""What ``taskyard function init`` writes for images: it compiles, and answers calls by itself."""

import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taskyard.cli.function_source import language_of, write_template
from taskyard.cli.function_templates import IMAGE_LANGUAGES

HERE = Path(__file__).parent
RUST = """
#[macro_use]
mod taskyard;

use taskyard::{Request, Response};

fn handle(request: &Request) -> Result<Response, Box<dyn std::error::Error>> {
    match &*request.text() {
        "fail" => return Err("it went wrong".into()),
        "panic" => panic!("at {}", 1),
        "print" => {
            println!("caf\\u{e9} {}", 1);
            eprintln!("err");
        }
        "progress" => request.progress.report(0.5, "half \\"way\\""),
        "later" => {
            let progress = request.progress.clone();
            std::thread::spawn(move || loop {
                progress.report(0.75, "late");
                std::thread::yield_now();
            });
        }
        _ => {}
    }
    let line = format!("{} {} {} {} ", request.task, request.method, request.host, request.query);
    let body = [line.as_bytes(), &request.body].concat();
    let x_b = request.header("X-B").unwrap_or_default();
    Ok(Response::new(201, body).with("x-a", "1").with("x-a", "2").with("x-b", x_b))
}

fn main() -> std::io::Result<()> {
    taskyard::serve(handle)
}
"""
CSHARP = """
using System;
using System.Linq;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Taskyard;

public static class Handler
{
    public static async Task<Response> Handle(Request request)
    {
        await Task.Yield();
        switch (request.Text)
        {
            case "fail": throw new InvalidOperationException("it went wrong");
            case "panic": throw new Exception("panic: at 1");
            case "print":
                Console.WriteLine("caf\\u00e9 {0}", 1);
                Console.Error.WriteLine("err");
                break;
            case "progress": request.Progress(0.5, "half \\"way\\""); break;
            case "later":
                new Thread(() => { for (;;) { request.Progress(0.75, "late"); Thread.Yield(); } })
                    { IsBackground = true }.Start();
                break;
        }
        var line = $"{request.TaskId} {request.Method} {request.Host} {request.Query} ";
        var body = Encoding.UTF8.GetBytes(line).Concat(request.Body).ToArray();
        var response = new Response(201, body).With("x-a", "1").With("x-a", "2");
        return response.With("x-b", request.Header("X-B") ?? "");
    }

    public static void Main()
    {
        Runtime.Serve(Handle);
    }
}
"""


def compiled_rust(place: Path) -> list[str]:
    """The command that runs the source of a directory; skips where there is no compiler."""
    if shutil.which("cargo") is None or shutil.which("cc") is None:
        pytest.skip("there is no cargo here")
    target = {**os.environ, "CARGO_TARGET_DIR": str(place / "target")}
    command = ["cargo", "build", "--offline", "--quiet"]
    done = subprocess.run(command, cwd=place, env=target, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [str(place / "target" / "debug" / "function")]


def compiled_csharp(place: Path) -> list[str]:
    """As above. Mono has no ``System.Text.Json``: what is used of it is ours."""
    if shutil.which("mcs") is None or shutil.which("mono") is None:
        pytest.skip("there is no mono here")
    command = ["mcs", "-nologo", "-langversion:7.2", "-warnaserror", "-out:function.exe"]
    command += ["Handler.cs", "Taskyard.cs", str(HERE / "system_text_json.cs")]
    done = subprocess.run(command, cwd=place, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return ["mono", str(place / "function.exe")]


COMPILED: dict[str, Callable[[Path], list[str]]] = {
    "rust": compiled_rust,
    "csharp": compiled_csharp,
}
HANDLER = {"rust": ("src/main.rs", RUST), "csharp": ("Handler.cs", CSHARP)}


class Program:
    """A program that has connected, and what it prints."""

    def __init__(self, sock: socket.socket, process: "subprocess.Popen[bytes]") -> None:
        self.sock = sock
        self.process = process
        self.calls = 0

    def hear(self) -> tuple[dict[str, Any], bytes]:
        """Receive one frame."""
        header, payload = struct.unpack("!II", self.sock.recv(8, socket.MSG_WAITALL))
        head = json.loads(self.sock.recv(header, socket.MSG_WAITALL))
        return head, self.sock.recv(payload, socket.MSG_WAITALL) if payload else b""

    def give(self, body: bytes) -> None:
        """Send a call."""
        self.calls += 1
        call = {
            "call": self.calls,
            "id": "a",
            "task": "t",
            "function": "f",
            "version": 3,
            "node": "n",
            "method": "PUT",
            "host": "example.org:80",
            "query": "a=1&a=%20&b",
            "headers": [["content-type", "text/x"], ["x-b", 'caf\u00e9 "\\']],
            "timeout_s": None,
            "new": {"in": [1.5e3, True, {}]},
        }
        head = json.dumps(call).encode()
        self.sock.sendall(struct.pack("!II", len(head), len(body)) + head + body)

    def call(self, body: bytes) -> tuple[dict[str, Any], bytes]:
        """Send a call and receive what comes next."""
        self.give(body)
        said, answer = self.hear()
        assert said.pop("call") == self.calls
        return said, answer


@contextmanager
def running(command: list[str], directory: Path) -> Iterator[Program]:
    """Start a program and let it connect; it ends when it is hung up on."""
    path = directory / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(60)
        env = {**os.environ, "TASKYARD_FUNCTION_SOCKET": str(path)}
        with subprocess.Popen(command, env=env, stdout=-1, stderr=-1) as process:
            try:
                sock, _ = listener.accept()
                with sock:
                    sock.settimeout(60)
                    program = Program(sock, process)
                    assert program.hear() == ({"ready": True}, b"")
                    yield program
                process.wait(60)
            finally:
                process.kill()


@pytest.mark.parametrize("language", IMAGE_LANGUAGES)
def test_it_greets(tmp_path: Path, language: str) -> None:
    """As it is written; it ends with its connection."""
    write_template(tmp_path, language)
    with running(COMPILED[language](tmp_path), tmp_path) as program:
        for count, who in ((1, b"world"), (2, b"Ada")):
            said, body = program.call(b"" if who == b"world" else who)
            assert body == b"Hello, %s!" % who
            assert said["status"] == 200
            assert said["headers"] == [["content-type", "text/plain; charset=utf-8"]]
            assert said["printed"][0] == sum(
                len(f"greeting {one}\n") for one in ("world", "Ada")[:count]
            )
        program.sock.shutdown(socket.SHUT_WR)
        assert program.process.stdout is not None
        assert program.process.stdout.read() == b"greeting world\ngreeting Ada\n"
        assert program.process.wait(60) == 0


@pytest.mark.parametrize("language", IMAGE_LANGUAGES)
def test_calls_arrive_and_are_answered_as_they_are(tmp_path: Path, language: str) -> None:
    """Every byte, there and back; errors in their words; progress of the call that is answered."""
    write_template(tmp_path, language)
    name, source = HANDLER[language]
    (tmp_path / name).write_text(source, encoding="utf-8")
    with running(COMPILED[language](tmp_path), tmp_path) as program:
        every = bytes(range(256)) * 300
        said, body = program.call(every)
        assert body == b"t PUT example.org:80 a=1&a=%20&b " + every
        assert said["status"] == 201
        assert said["headers"] == [["x-a", "1"], ["x-a", "2"], ["x-b", 'caf\u00e9 "\\']]
        assert said["printed"] == [0, 0]
        said, _ = program.call(b"print")
        assert said["printed"] == [len("caf\u00e9 1\n".encode()), len(b"err\n")]
        for wrong, words in (b"fail", "it went wrong"), (b"panic", "panic: at 1"):
            said, body = program.call(wrong)
            assert words in said["error"]
            assert body == b""
            assert said["printed"][1] > len(b"err\n")
        said, _ = program.call(b"progress")
        assert said == {"progress": 0.5, "text": 'half "way"'}
        assert program.hear()[0]["status"] == 201
        program.give(b"later")
        while "status" not in program.hear()[0]:
            pass
        for _ in range(50):
            # What the thread goes on saying is said in no later call's name.
            said, _ = program.call(b"x")
            assert said["status"] == 201


@pytest.mark.parametrize("language", IMAGE_LANGUAGES)
def test_what_is_written(tmp_path: Path, language: str) -> None:
    """An image that is compiled in one stage and runs as nobody in the next."""
    write_template(tmp_path, language)
    dockerfile = (tmp_path / "Dockerfile").read_text()
    assert dockerfile.count("FROM ") == 2
    assert "USER 65534\n" in dockerfile
    assert (tmp_path / ".dockerignore").read_text().split()
    assert language_of(tmp_path) == language
