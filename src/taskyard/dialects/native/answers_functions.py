"""Functions, versions and results of calls into wire form."""

import base64
from typing import Final

from taskyard.core.access.redaction import redact_headers, redact_text
from taskyard.core.access.secret_text import Allowance
from taskyard.core.functions.functions import CallRequest, CallResult, Function, Version
from taskyard.core.ids import TaskId
from taskyard.core.instants import rfc3339
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.sandbox import without_origin_headers
from taskyard.dialects.native.schemas_functions import (
    CallRequestAnswer,
    FunctionAnswer,
    FunctionLimitsAnswer,
    FunctionVersionAnswer,
)

TASK_HEADER: Final = b"taskyard-task-id"
_OURS: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te"),
        *("trailer", "transfer-encoding", "upgrade", "content-length", "date", "server"),
    }
)
"""Headers that no function decides."""


def function_answer(function: Function) -> FunctionAnswer:
    """A function as answered."""
    limits = function.limits
    return FunctionAnswer(
        id=function.id,
        name=function.name,
        workspace=function.workspace,
        title=function.title,
        description=function.description,
        language=function.language,
        tags=function.tags,
        limits=FunctionLimitsAnswer(
            limits.timeout_s,
            None if limits.cpu_millis is None else limits.cpu_millis / 1000,
            limits.memory_bytes,
            limits.privileged,
        ),
        live_version=function.live_version,
        last_version=function.last_version,
        paused=function.paused,
        group=function.group,
        created_at=rfc3339(function.created_at),
        updated_at=rfc3339(function.updated_at),
        deleted_at=rfc3339(function.deleted_at),
    )


def version_answer(version: Version, live_version: int | None) -> FunctionVersionAnswer:
    """A version as answered."""
    return FunctionVersionAnswer(
        number=version.number,
        state=version.state,
        live=version.number == live_version,
        language=version.language,
        handler=version.handler,
        entry=version.entry,
        dependencies=version.dependencies,
        bundle=version.bundle,
        size_bytes=version.size_bytes,
        created_at=rfc3339(version.created_at),
        created_by=version.created_by,
        finished_at=rfc3339(version.finished_at),
        message=None if version.message is None else redact_text(version.message),
        image=version.image or None,
        digest=version.digest,
    )


def request_answer(request: CallRequest) -> CallRequestAnswer:
    """What a function was asked, without what looks secret."""
    headers: dict[str, str] = {}
    for name, value in request.headers:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    allowance = Allowance()
    text: str | None
    try:
        text = redact_text(request.body.decode(), allowance)
    except UnicodeDecodeError:
        text = None
    return CallRequestAnswer(
        method=request.method,
        query=redact_text(f"?{request.query}", allowance)[1:],
        headers=redact_headers(headers, allowance),
        body=text,
        body_base64=None if text is not None else base64.b64encode(request.body).decode(),
    )


def result_answer(task_id: TaskId, result: CallResult) -> Answer:
    """What a function answered, as far as it may on the origin of an API."""
    headers = []
    for name, value in result.headers:
        lowered = name.lower()
        if (
            lowered not in _OURS
            and lowered.isascii()
            and lowered.replace("-", "").replace("_", "").isalnum()
        ):
            headers.append((lowered.encode(), value.encode("latin-1")))
    body = b"" if result.status in {204, 304} else result.body or b""
    sent = [(TASK_HEADER, task_id.encode()), *without_origin_headers(headers)]
    return Answer(result.status, body, sent)
