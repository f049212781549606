"""Hosts of containers: as the status shows them, and as clients take them out of rotation."""

import re
from collections.abc import Sequence
from typing import Any, Final

from taskyard.core.ids import WorkerId
from taskyard.dialects.fastlane.errors import BadRequest
from taskyard.dialects.fastlane.mapping import host_and_port
from taskyard.dialects.fastlane.schemas import object_of
from taskyard.ports.dispatching import WorkerRecord

RUNTIME: Final = "container"
_HOST: Final = re.compile(r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:]{2,45}\]):[0-9]{1,5}\Z")


def host_of_body(body: bytes) -> str:
    """The ``name:port`` in a body. Raises ``BadRequest``."""
    host = object_of(body).get("host")
    if not isinstance(host, str):
        raise BadRequest("host is required, and has to be a string.")
    if not _HOST.match(host):
        raise BadRequest("host has to be a name and a port, such as docker.example.com:2375.")
    return host


def workers_at(host: str, records: Sequence[WorkerRecord]) -> list[WorkerId]:
    """The workers that a ``name:port`` stands for: by their own name, or by their machine's."""
    names = {host, host_and_port(host)[0]}
    return [one.id for one in records if one.id in names or _address(one) in names]


def _address(record: WorkerRecord) -> str:
    """Where a worker's engine is, without the scheme of its URL."""
    return record.hostname.partition("://")[2] or record.hostname


def host_object(record: WorkerRecord) -> dict[str, Any]:
    """A worker as a host."""
    shown = record.id if host_and_port(record.id)[1] else _address(record)
    host, port = host_and_port(shown)
    drained = record.draining or record.state == "draining"
    status = record.statuses.get(RUNTIME)
    error = "taken out of rotation" if drained else None
    usable = record.state == "ready" and not drained
    if status is not None and not status.available:
        usable, error = False, error or status.reason
    elif record.state == "lost":
        error = error or "has not been heard of lately"
    return {
        "host": host,
        "port": port,
        "available": usable,
        "blacklisted": drained,
        "circuit": "closed" if status is None else str(status.circuit),
        "error": error,
    }


def host_objects(records: Sequence[WorkerRecord]) -> list[dict[str, Any]]:
    """Available ones first."""
    shown = [host_object(one) for one in records if runs_containers(one)]
    return sorted(shown, key=lambda one: not one["available"])


def runs_containers(record: WorkerRecord) -> bool:
    """Whether a worker has that runtime, usable now or not."""
    return RUNTIME in record.runtimes or RUNTIME in record.statuses
