"""Followers of running output, which go on at another plane whenever a stream breaks."""

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
from histories import REFUSED_FOR_NOW, Client

LINES = 40
WHOLE = b"".join(b"%07d\n" % number for number in range(LINES))
"""What each attempt prints to its standard output."""
ENDED = frozenset({"succeeded", "failed", "dead", "cancelled", "expired"})
_COMMAND = f"n=0; while [ $n -lt {LINES} ]; do printf '%07d\\n' $n; n=$((n + 1)); sleep 0.05; done"
_FOLLOW_S = 90.0


class Follower(Client):
    """Submits what prints for some seconds, and reads each byte of it once, as it is written."""

    lost = 0
    """Attempts whose output it did not see to the end, as they were lost."""

    def ask(self, mark: str) -> None:
        """See the class."""
        body = {"command": _COMMAND, "idempotency_key": mark, "labels": {"follower": mark}}
        created = self.insist("POST", "/tasks", json=body).raise_for_status()
        task = str(created.json()["id"])
        self.history.acknowledged[mark] = task
        attempt, state = 1, ""
        while state not in ENDED:
            state = self._follow(task, attempt)
            attempt += 1
        if state != "succeeded":
            raise AssertionError(f"{task} ended as {state}")
        self._read_all(task)

    def _follow(self, task: str, attempt: int) -> str:
        """Read one attempt to its end; answers with the task's state then."""
        offset, deadline = 0, time.monotonic() + _FOLLOW_S
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.TransportError):
                for message in self._messages(task, attempt, offset):
                    if message["type"] == "output":
                        offset = self._take(message, attempt, offset)
                    elif message["type"] == "exit":
                        return self._ended(message, offset)
            time.sleep(0.05)
        raise TimeoutError(f"{task}: attempt {attempt} was never read to its end, but to {offset}")

    def _messages(self, task: str, attempt: int, offset: int) -> Iterator[dict[str, Any]]:
        query = {"attempt": attempt, "stdout": offset, "stderr": -1}
        path = f"/tasks/{task}/logs/follow"
        with self.connection() as client, client.stream("GET", path, params=query) as answer:
            # The next attempt may not have been placed yet.
            if answer.status_code in REFUSED_FOR_NOW | {404}:
                return
            answer.raise_for_status()
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    found: dict[str, Any] = json.loads(line.removeprefix("data:"))
                    if "type" in found:
                        yield found

    def _take(self, message: dict[str, Any], attempt: int, offset: int) -> int:
        """Where the reader stands after a piece of output."""
        assert message["attempt"] == attempt, message
        assert message["offset"] == offset, f"stands at {offset}, and gets {message}"
        text = message.get("text")
        data = base64.b64decode(message["base64"]) if text is None else text.encode()
        end = offset + len(data)
        assert WHOLE[offset:end] == data, message
        return end

    def _ended(self, message: dict[str, Any], offset: int) -> str:
        if message["state"] == "succeeded":
            assert offset == len(WHOLE), f"read {offset} of {len(WHOLE)}: {message}"
            assert message["stdout_missing"] == 0, message
        elif offset != message["stdout"]:
            self.lost += 1
        return str(message["task_state"])

    def _read_all(self, task: str) -> None:
        """The same again, from the beginning, now that it has ended."""
        answer = self.insist("GET", f"/tasks/{task}/logs/stdout").raise_for_status()
        assert answer.content == WHOLE, f"{task} has {len(answer.content)} bytes afterwards"
