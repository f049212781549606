"""Getting an image from its registry, with progress for whoever waits."""

from collections.abc import Callable
from typing import Any, Final

import anyio

from taskyard.core.image_name import ImageName
from taskyard.core.states import Reason
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.errors import CannotRun, EngineRefused, EngineUnreachable

_LINES_MAX: Final = 1000


async def pull(
    engine: EngineClient,
    image: ImageName,
    *,
    auth: str | None,
    timeout_s: float,
    remark: Callable[[str], None],
) -> None:
    """Pull an image; ``remark`` gets a line for every step of every layer.

    Raises :class:`CannotRun` for an image that cannot be had, for one that takes too long, and
    (as trouble of the machinery) for an engine that went away.
    """
    remark(f"[taskyard: pulling {image}]")
    trouble: str | None = None
    scope = anyio.CancelScope(deadline=anyio.current_time() + timeout_s)
    try:
        with scope:
            trouble = await _pull(engine, image, auth, remark)
    except EngineUnreachable as error:
        raise CannotRun(
            f"the container engine went away while {image} was pulled: {error}",
            Reason.RUNTIME_TROUBLE,
        ) from error
    except EngineRefused as error:
        trouble = str(error)
    if scope.cancelled_caught:
        raise CannotRun(
            f"image {image} could not be pulled within {timeout_s:g} s; give it more with "
            "pull_timeout_s"
        )
    if trouble is not None:
        raise CannotRun(
            f"image {image} is not on the engine and cannot be pulled: {trouble}; check its name "
            "and the credentials"
        )
    remark(f"[taskyard: pulled {image}]")


async def _pull(
    engine: EngineClient, image: ImageName, auth: str | None, remark: Callable[[str], None]
) -> str | None:
    said: dict[str, str] = {}
    lines = 0
    async with engine.pulling(image.repository, image.version, auth) as steps:
        async for step in steps:
            if step.get("error"):
                return str(step["error"])
            line = _line(step)
            layer = str(step.get("id") or "")
            # Byte counts come many times a second; a line is for what has changed.
            if line and said.get(layer) != line and lines < _LINES_MAX:
                said[layer] = line
                lines += 1
                remark(line)
    return None


def _line(step: dict[str, Any]) -> str:
    status = str(step.get("status") or step.get("stream") or "").strip()
    layer = str(step.get("id") or "")
    if not status or status == layer:
        return status
    return f"{layer}: {status}" if layer else status
