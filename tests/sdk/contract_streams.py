"""What the contract server streams: the output of attempts and changes of tasks."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from contract_engine import FAULTS, TASKS, Json, Running, now, problem
from litestar import get
from litestar.response import Stream


def find(task_id: str) -> Running:
    """The task, or 404."""
    if task_id not in TASKS:
        raise problem(404, "not-found", f"no task {task_id!r} in this workspace")
    return TASKS[task_id]


def message(kind: str, ident: str, /, **members: Any) -> bytes:
    """One server-sent event."""
    data = json.dumps({"type": kind, **members})
    return f"event: {kind}\nid: {ident}\ndata: {data}\n\n".encode()


async def follow_messages(
    entry: Running,
    number: int | None,
    offsets: dict[str, int],
    cut: int | None,
    *,
    wait: bool,
    timestamps: bool,
) -> AsyncIterator[bytes]:
    """Messages of one attempt from these offsets; ``cut`` ends the stream early."""
    yield b": welcome\n\n"
    sent = 0
    while not entry.attempts:
        async with entry.moved:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(entry.moved.wait(), 0.1)
        yield b": ping\n\n"
    number = number or len(entry.attempts)
    attempt, output = entry.attempts[number - 1], entry.output[number - 1]
    while True:
        over = "task_state" in attempt
        for name in tuple(offsets):
            while 0 <= (offset := offsets[name]) < len(output[name]):
                data = bytes(output[name][offset : offset + 4096])
                if cut is not None and sent + len(data) > cut:
                    # A cut in the middle of a message: half of it was on its way already.
                    yield message("output", "x", attempt=number)[:-9]
                    return
                sent += len(data)
                members: Json = {"stream": name, "offset": offset}
                if timestamps:
                    members["at"] = "2026-11-29T12:00:00.000001Z"
                try:
                    members["text"] = data.decode()
                except UnicodeDecodeError:
                    members["base64"] = base64.b64encode(data).decode()
                offsets[name] = members["next_offset"] = offset + len(data)
                yield message("output", f"{number}:x", attempt=number, **members)
        if over:
            keys = ("state", "exit_code", "signal", "reason", "message", "task_state")
            sizes = {name: len(data) for name, data in output.items()}
            ends = {key: attempt[key] for key in keys}
            yield message("exit", f"{number}:end", attempt=number, **ends, **sizes)
            return
        if not wait:
            yield message("caught_up", f"{number}:x", attempt=number)
            return
        async with entry.moved:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(entry.moved.wait(), 0.2)
        yield b": ping\n\n"


@get("/api/v1/tasks/{task_id:str}/logs/follow")
async def follow(
    task_id: str,
    attempt: int | None = None,
    stdout: int = 0,
    stderr: int = 0,
    wait: bool = True,
    timestamps: bool = False,
) -> Stream:
    """Follow live."""
    cuts = FAULTS["cut_follow_bytes"]
    cut = cuts.pop(0) if cuts else None
    offsets = {"stdout": stdout, "stderr": stderr}
    messages = follow_messages(
        find(task_id), attempt, offsets, cut, wait=wait, timestamps=timestamps
    )
    return Stream(messages, media_type="text/event-stream")


async def change_messages() -> AsyncIterator[bytes]:
    """A change, a gap, and a change each time a task appears; never ends."""
    yield message(
        "change", "1", kind="submitted", at=now(), task_id="t1", group="g", state="queued"
    )
    yield message("gap", "2", missed=12)
    while True:
        await asyncio.sleep(0.1)
        yield b": ping\n\n"


@get("/api/v1/events/stream")
async def changes() -> Stream:
    """Live changes."""
    return Stream(change_messages(), media_type="text/event-stream")
