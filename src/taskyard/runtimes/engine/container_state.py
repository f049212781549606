"""What an engine says of a container, and what that means for its attempt."""

from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from taskyard.core.instants import Instant
from taskyard.core.states import AttemptState, Reason

_BY_SIGNAL: Final = {137: "SIGKILL", 143: "SIGTERM", 139: "SIGSEGV", 134: "SIGABRT", 130: "SIGINT"}
_KILLED: Final = 137
_ENGINES_DOING: Final = frozenset({137, 143, 255})
"""Exit codes of containers that went down with their engine."""


class ContainerState(Struct, frozen=True):
    """The state of a container at one moment."""

    id: str
    running: bool
    started_at: Instant | None
    """None if it never was started."""
    finished_at: Instant | None
    exit_code: int
    out_of_memory: bool
    pid: int
    labels: dict[str, str]


def finding(inspected: dict[str, Any]) -> ContainerState:
    """Read what ``inspect`` answered."""
    state = inspected.get("State") or {}
    running = bool(state.get("Running")) or bool(state.get("Paused"))
    return ContainerState(
        id=str(inspected.get("Id", "")),
        running=running,
        started_at=_instant(state.get("StartedAt")),
        finished_at=_instant(state.get("FinishedAt")),
        exit_code=int(state.get("ExitCode") or 0),
        out_of_memory=bool(state.get("OOMKilled")),
        pid=int(state.get("Pid") or 0) if running else 0,
        labels=dict((inspected.get("Config") or {}).get("Labels") or {}),
    )


class Circumstances(Struct, frozen=True):
    """What is known beside the container's own state."""

    kill_cause: str | None
    """``killed``, ``timeout``, or None."""
    timeout_s: float | None
    memory_bytes: int | None
    is_podman: bool
    engine_was_away: bool
    """Whether the engine was gone, or the machine went down, about when the container ended."""


def judge(
    found: ContainerState, around: Circumstances
) -> tuple[AttemptState, Reason | None, str | None]:
    """How an attempt ended whose container does not run any more."""
    code = found.exit_code
    if around.kill_cause == "killed":
        return AttemptState.KILLED, Reason.KILLED, "killed on request"
    if around.kill_cause == "timeout" or _outlived(found, around.timeout_s):
        text = f"ran longer than its limit of {around.timeout_s:g} s"
        return AttemptState.FAILED, Reason.TIMEOUT, text
    if code == 0:
        return AttemptState.SUCCEEDED, None, None
    if found.out_of_memory:
        return AttemptState.FAILED, Reason.OUT_OF_MEMORY, "needed more memory than its limit"
    if around.engine_was_away and code in _ENGINES_DOING:
        text = "the container engine stopped and took the container with it"
        return AttemptState.FAILED, Reason.RUNTIME_TROUBLE, text
    if around.is_podman and code == 137 and around.memory_bytes is not None:
        text = (
            f"was killed outright while limited to {around.memory_bytes} bytes of memory; Podman "
            "does not say why, but nobody here did it"
        )
        return AttemptState.FAILED, Reason.OUT_OF_MEMORY, text
    signal = _BY_SIGNAL.get(code)
    text = f"exited with code {code}" + (f" ({signal})" if signal else "")
    return AttemptState.FAILED, Reason.EXIT_CODE, text


def is_suspicious(found: ContainerState) -> bool:
    """Whether it may have gone down with its engine, so that the engine has to be looked at."""
    return found.exit_code in _ENGINES_DOING and not found.out_of_memory


def may_lack_memory(found: ContainerState, memory_bytes: int | None) -> bool:
    """Whether it may have been killed for want of memory though its engine does not say so yet."""
    return memory_bytes is not None and found.exit_code == _KILLED and not found.out_of_memory


def _outlived(found: ContainerState, timeout_s: float | None) -> bool:
    """Whether an earlier life of this process killed it for its time limit."""
    if timeout_s is None or found.started_at is None or found.finished_at is None:
        return False
    return found.exit_code in {137, 143} and (
        found.finished_at - found.started_at >= timeout_s * 1_000_000
    )


def _instant(text: object) -> Instant | None:
    """Microseconds of an engine's time; None for its zero and for what is no time."""
    if not isinstance(text, str) or text.startswith("0001-"):
        return None
    head, _, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    zone = rest[len(digits) :] if rest else ""
    if not rest and head.endswith("Z"):
        head, zone = head[:-1], "Z"
    try:
        whole = datetime.fromisoformat(head + (zone or "Z"))
    except ValueError:
        return None
    return Instant(int(whole.timestamp()) * 1_000_000 + int((digits + "000000")[:6]))
