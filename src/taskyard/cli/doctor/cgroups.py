"""Control groups: whether limits can be enforced, and whole trees killed at once."""

import os
from pathlib import Path

from msgspec import Struct

from taskyard.cli.doctor.finding import Finding, ok, warn

_NEEDED = ("cpu", "memory", "pids")


class Layout(Struct, frozen=True):
    """The mounted hierarchies."""

    unified: Path | None = None
    """Where version 2 is mounted."""
    legacy: dict[str, Path] = {}
    """Where version 1 controllers are mounted, by controller."""

    @property
    def kind(self) -> str:
        """``v2``, ``hybrid``, ``v1`` or ``none``."""
        if self.unified is not None:
            return "hybrid" if self.legacy else "v2"
        return "v1" if self.legacy else "none"


def read_layout(mounts: str) -> Layout:
    """The layout that the text of ``/proc/mounts`` describes."""
    unified: Path | None = None
    legacy: dict[str, Path] = {}
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 4:
            continue
        place, kind, options = Path(fields[1].replace("\\040", " ")), fields[2], fields[3]
        if kind == "cgroup2":
            unified = unified or place
        elif kind == "cgroup":
            legacy |= {name: place for name in options.split(",") if name in _NEEDED}
    return Layout(unified, legacy)


def check_cgroups(
    mounts: Path = Path("/proc/mounts"), own: Path = Path("/proc/self/cgroup")
) -> list[Finding]:
    """Which layout there is, which controllers can be used, and whether trees can be killed."""
    try:
        layout = read_layout(mounts.read_text())
        places = _own_places(own.read_text(), layout)
    except OSError as error:
        return [warn("cgroups", f"cannot be read: {error}", "Taskyard needs Linux with /proc.")]
    if layout.kind == "none":
        return [
            warn(
                "cgroups",
                "none mounted: no limits, and kills go by session and descendants",
                "Mount the unified hierarchy (mount -t cgroup2 none /sys/fs/cgroup).",
            )
        ]
    return [_check_limits(layout, places), _check_kill(layout, places)]


def _own_places(text: str, layout: Layout) -> dict[str, Path]:
    """Where this process is in each hierarchy; ``""`` is the unified one."""
    places: dict[str, Path] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers and layout.unified is not None:
            places[""] = layout.unified / path.lstrip("/")
        for name in controllers.split(","):
            if name in layout.legacy:
                places[name] = layout.legacy[name] / path.lstrip("/")
    return places


def _check_limits(layout: Layout, places: dict[str, Path]) -> Finding:
    usable = [name for name in _NEEDED if _usable(name, layout, places)]
    missing = [name for name in _NEEDED if name not in usable]
    detail = f"{layout.kind}; can limit: {', '.join(usable) or 'nothing'}"
    if not missing:
        return ok("cgroups", detail)
    return warn(
        "cgroups",
        f"{detail}; cannot limit: {', '.join(missing)}",
        "Run as root, or as a systemd service with Delegate=yes, to have limits enforced.",
    )


def _usable(name: str, layout: Layout, places: dict[str, Path]) -> bool:
    if name in places:
        return _writable(places[name])
    if layout.unified is None or "" not in places:
        return False
    try:
        available = (places[""] / "cgroup.controllers").read_text().split()
    except OSError:
        return False
    return name in available and _writable(places[""])


def _check_kill(layout: Layout, places: dict[str, Path]) -> Finding:
    if layout.unified is None:
        return warn(
            "kill",
            "no unified hierarchy: kills go by session and descendants",
            "Also mount the unified hierarchy, to kill whole trees at once.",
        )
    place = places.get("", layout.unified)
    if not _writable(place):
        return warn(
            "kill",
            f"{place} is not writable: kills go by session and descendants",
            "Run as root, or as a systemd service with Delegate=yes.",
        )
    return ok("kill", f"whole trees can be killed at once below {place}")


def _writable(place: Path) -> bool:
    return place.is_dir() and os.access(place, os.W_OK)
