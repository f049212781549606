"""Reads what is deployed: JSON, a form, or the archive itself."""

import io
from typing import Final

import msgspec
from litestar.types import Scope
from multipart import (  # type: ignore[import-untyped]  # published without types
    MultipartError,
    MultipartParser,
    parse_options_header,
)

from taskyard.core.errors import InvalidInput
from taskyard.core.functions.functions import IMAGE_ONLY, Language, Limits
from taskyard.dialects.http.bodies import BodyTooLarge
from taskyard.dialects.native.errors import malformed, undecodable
from taskyard.dialects.native.schemas_functions import (
    DeployedFunction,
    DeployQuery,
    FunctionLimits,
)
from taskyard.dialects.native.sizes import size_bytes
from taskyard.services.functions.deployments import Deployment

BUNDLE_BYTES: Final = 50 << 20
"""Largest source that is taken here."""
UPLOAD_BYTES: Final = BUNDLE_BYTES // 3 * 4 + (1 << 20)
"""Largest request: the largest bundle in base64, and a little more."""
_JSON: Final = msgspec.json.Decoder(DeployedFunction)


def deployment_of(scope: Scope, body: bytes, query: DeployQuery) -> Deployment:
    """What a request deploys.

    Raises ``InvalidInput``, ``ProblemError`` (400) for what cannot be read, ``BodyTooLarge``.
    """
    kind = ""
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind = value.decode("latin-1")
    media_type, options = parse_options_header(kind)
    if media_type in {"", "application/json"}:
        return _from_json(body)
    if media_type == "multipart/form-data":
        return _from_form(body, options.get("boundary", ""))
    return _checked(
        DeployedFunction(
            language=_language(query.language) if query.language else None, handler=query.handler
        ),
        body,
    )


def limits_of(wire: FunctionLimits) -> Limits:
    """Limits as the engine has them. Raises ``InvalidInput``."""
    return Limits(
        timeout_s=wire.timeout_s,
        cpu_millis=None if wire.cpu is None else round(wire.cpu * 1000),
        memory_bytes=size_bytes("limits.memory", wire.memory, 16 << 20, 64 << 40),
        privileged=wire.privileged,
    )


def _from_json(body: bytes) -> Deployment:
    try:
        wire = _JSON.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise undecodable(error, body, _JSON.type) from error
    if [wire.source, wire.archive, wire.image].count(None) != 2:
        raise InvalidInput("source", "give either source, archive or image")
    if wire.image is not None:
        return _checked(wire, b"")
    if wire.archive is not None:
        return _checked(wire, wire.archive)
    try:
        return _checked(wire, (wire.source or "").encode())
    except UnicodeEncodeError as error:
        raise InvalidInput("source", "is not valid Unicode") from error


def _from_form(body: bytes, boundary: str) -> Deployment:
    """A part ``file`` with the archive or source, and ``meta`` with the other members as JSON."""
    try:
        parts = {
            part.name: part
            for part in MultipartParser(
                io.BytesIO(body),
                boundary,
                disk_limit=UPLOAD_BYTES,
                memory_limit=UPLOAD_BYTES,
                memfile_limit=UPLOAD_BYTES,
            )
        }
    except (MultipartError, ValueError) as error:
        raise malformed(f"the form cannot be read: {error}") from error
    if "file" not in parts:
        raise InvalidInput("file", "is required: a part with the source")
    meta = parts["meta"].raw if "meta" in parts else b"{}"
    try:
        wire = _JSON.decode(meta)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise undecodable(error, meta, _JSON.type) from error
    if wire.image is not None:
        raise InvalidInput("image", "cannot be combined with a file")
    return _checked(wire, parts["file"].raw)


def _checked(wire: DeployedFunction, bundle: bytes) -> Deployment:
    if len(bundle) > BUNDLE_BYTES:
        raise BodyTooLarge(BUNDLE_BYTES)
    return Deployment(
        bundle=bundle,
        language=wire.language,
        handler=wire.handler,
        entry=wire.entry,
        dependencies=tuple(wire.dependencies),
        title=wire.title,
        description=wire.description,
        tags=None if wire.tags is None else tuple(dict.fromkeys(wire.tags)),
        limits=None if wire.limits is None else limits_of(wire.limits),
        image=wire.image or "",
        credentials=wire.credentials or "",
    )


def _language(text: str) -> Language:
    try:
        return Language(text)
    except ValueError:
        known = ", ".join(one for one in Language if one not in IMAGE_ONLY)
        raise InvalidInput("language", f"must be one of {known}") from None
