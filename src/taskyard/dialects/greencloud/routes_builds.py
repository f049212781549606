"""Builds: deploy code, and show the builds."""

import io
import zipfile
from typing import Any, Final

from multipart import (  # type: ignore[import-untyped]  # published without types
    MultipartError,
    MultipartParser,
    parse_options_header,
)

from taskyard.core.functions.functions import BuildState, Function, Version
from taskyard.core.functions.resources import Build, new_id
from taskyard.dialects.greencloud.dialect import ID, Call, function_of
from taskyard.dialects.greencloud.errors import invalid, unknown
from taskyard.dialects.greencloud.mapping import rfc3339
from taskyard.dialects.greencloud.schemas import created, json_document, page_answer
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.bodies import BodyTooLarge
from taskyard.dialects.http.routes import Routes
from taskyard.services.functions.deployments import Deployment

ARCHITECTURE: Final = "amd64"
_ZIP: Final = b"PK\x03\x04"
_FORM_BYTES: Final = 1 << 16
"""What a form may have beside its file."""
_STATUSES: Final = {
    BuildState.PENDING: "PENDING",
    BuildState.BUILDING: "BUILDING",
    BuildState.READY: "SUCCESS",
    BuildState.FAILED: "FAILED",
    BuildState.RETIRED: "SUCCESS",
}

routes = Routes[Call, bool](access=False)


@routes.post("/v1/build/{id}")
async def create(call: Call) -> Answer:
    """``POST /v1/build/{functionId}``."""
    function = await call.function()
    if call.parameters().get("arch") != ARCHITECTURE:
        raise invalid({"arch": f"is required, and has to be {ARCHITECTURE}"})
    archive = await _archive(call)
    if not archive:
        raise invalid({"file": "is empty"})
    if not archive.startswith((_ZIP, b"PK\x05\x06")) or not zipfile.is_zipfile(io.BytesIO(archive)):
        # Other kinds of bundles are not taken here: let it fail as the damaged zip it is.
        archive = _ZIP + archive[: len(_ZIP)]
    _, version = await call.engine.functions.deploy(
        call.caller, function.name, Deployment(bundle=archive)
    )
    now = call.engine.clock.now()
    build = Build(new_id(now), call.caller.workspace, now, function.id, version.number)
    await call.engine.function_resources.add(call.caller, build)
    return created(build.id)


async def _archive(call: Call) -> bytes:
    """What was uploaded, bare or in a form."""
    limit = call.dialect.settings.max_upload_bytes
    kind, options = parse_options_header(call.header(b"content-type") or "")
    if kind != "multipart/form-data":
        return await call.read(limit)
    body = await call.read(limit + _FORM_BYTES)
    try:
        parts = MultipartParser(
            io.BytesIO(body),
            options.get("boundary", ""),
            disk_limit=len(body) + 1,
            memory_limit=len(body) + 1,
            memfile_limit=len(body) + 1,
        )
        found = next((part.raw for part in parts if part.name == "file"), b"")
    except (MultipartError, ValueError) as error:
        raise invalid({"file": "is in a form that cannot be read"}) from error
    if len(found) > limit:
        raise BodyTooLarge(limit)
    return bytes(found)


@routes.get("/v1/build/{id}")
async def show(call: Call) -> Answer:
    """``GET /v1/build/{buildId}``."""
    key = call.path("id")
    if not ID.match(key):
        raise unknown("build", key)
    build = await call.engine.function_resources.get(call.caller, Build, key)
    function, version = await _version(call, build)
    log = await call.engine.functions.log(call.caller, function.name, version.number)
    return json_document(
        {
            "functionId": build.function_id,
            "status": _STATUSES[version.state],
            "arch": [ARCHITECTURE],
            "timeline": await _timeline(call, function, version),
            "log": log.text.splitlines(),
        }
    )


async def _version(call: Call, build: Build) -> tuple[Function, Version]:
    function = await function_of(call.engine, call.caller, build.function_id)
    version = await call.engine.functions.version(call.caller, function.name, build.number)
    return function, version


async def _timeline(call: Call, function: Function, version: Version) -> list[dict[str, str]]:
    """Every status so far, in order."""
    entered = [("PENDING", version.created_at)]
    began_at = await call.engine.function_resources.build_began(function, version.number)
    if began_at is not None and version.state is not BuildState.PENDING:
        entered.append(("BUILDING", began_at))
    if version.finished_at is not None:
        entered.append((_STATUSES[version.state], version.finished_at))
    return [{"status": status, "time": rfc3339(at)} for status, at in entered]


@routes.get("/v1/build/list")
async def list_builds(call: Call) -> Answer:
    """``GET /v1/build/list``."""
    wanted, found, total = await call.page_of(Build)
    lines: list[dict[str, Any]] = []
    for one in found:
        _, version = await _version(call, one)
        lines.append(
            {
                "id": one.id,
                "functionId": one.function_id,
                "status": _STATUSES[version.state],
                "createdAt": rfc3339(one.created_at),
            }
        )
    return page_answer(wanted, total, lines)
