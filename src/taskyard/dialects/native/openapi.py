"""The OpenAPI description, made from the very declarations that requests are decoded by."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final

import msgspec

from taskyard import __version__
from taskyard.dialects.http.routes import WEBSOCKET, Route, Routes
from taskyard.dialects.native.decoding import NoQuery, RawBody, types_of
from taskyard.dialects.native.dialect import Call, Description
from taskyard.dialects.native.errors import TITLES, Problem
from taskyard.dialects.native.member_docs import member_docs, structs_in

Section = tuple[str, Routes[Call[Any, Any], Description]]
"""Routes under one title."""
REF: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_COMMON_FAILS: Final = (400, 401, 403, 429, 500, 503)
_BODY_FAILS: Final = (413, 415, 422)
_KINDS: Final = {
    400: "malformed-body",
    401: "not-authenticated",
    403: "not-allowed",
    404: "not-found",
    409: "conflict",
    413: "body-too-large",
    415: "unsupported-media-type",
    416: "range-not-satisfiable",
    422: "invalid-input",
    429: "overloaded",
    500: "internal",
    503: "unavailable",
    504: "function-timeout",
    507: "storage-full",
}
_MEANINGS: Final = {
    200: "Done",
    201: "Stored",
    202: "Under way",
    204: "Done, nothing to say",
    206: "A part",
}
_PATH_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "task_id": {"type": "string", "format": "uuid"},
    "job_id": {"type": "string", "format": "uuid"},
    "stream": {"enum": ["stdout", "stderr"]},
    "name": {"type": "string", "minLength": 1, "maxLength": 255},
    "token_id": {"type": "string", "minLength": 1},
    "function": {"type": "string", "minLength": 1, "maxLength": 128},
    "version": {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
    "delivery_id": {"type": "string", "minLength": 1},
    "worker_id": {"type": "string", "minLength": 1},
}
_NAMES: Final = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}
_BINARY: Final = {"type": "string", "format": "binary"}


def describe(sections: Iterable[Section], prefix: str) -> bytes:
    """The description of all native routes below a prefix, as JSON."""
    found = sorted(_operations(sections, prefix), key=lambda one: one[0])
    schemas, components = _schemas(found)
    paths: dict[str, dict[str, Any]] = {}
    for path, method, tags, operation in found:
        paths.setdefault(path, {})[method] = _described(path, tags, operation, schemas)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Taskyard",
            "version": __version__,
            "description": "Submit tasks, watch them live, kill them with proof.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"user": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {str(status): _problem(status) for status in _KINDS},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "user": {"type": "http", "scheme": "basic"},
                "tokenInQuery": {"type": "apiKey", "in": "query", "name": "access_token"},
            },
        },
    }
    return msgspec.json.encode(document)


@dataclass(frozen=True, slots=True)
class Operation:
    """What is described of a route."""

    name: str
    summary: str
    said: Description
    query: Any
    body: Any
    body_required: bool
    raw: bool
    """Whether the body may be of any type."""


Found = tuple[str, str, list[str], Operation]
"""Path, method, tags and declaration of a route."""


def _operations(sections: Iterable[Section], prefix: str) -> Iterable[Found]:
    for tag, routes in sections:
        for route in routes:
            (method,) = route.methods
            if method != WEBSOCKET:
                path = (prefix + route.path).rstrip("/") or "/"
                yield path, method.lower(), [tag], _operation(route)


def _operation(route: Route[Call[Any, Any], Description]) -> Operation:
    query, body, required = types_of(route.handler)
    raw = body is RawBody
    if raw or body is NoneType:
        body = route.access.described_body
    summary = (route.handler.__doc__ or "").strip().splitlines()[0]
    name = route.handler.__name__
    return Operation(name, summary, route.access, query, body, required and not raw, raw)


def _schemas(found: list[Found]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema of every type that occurs, and the components they refer to."""
    types: list[Any] = [Problem]
    for _, _, _, operation in found:
        types += [one for one in operation.said.answers.values() if isinstance(one, type)]
        types += [*operation.said.events, *([] if operation.body is None else [operation.body])]
        types += [] if operation.query is NoQuery else [operation.query]
    distinct = list(dict.fromkeys(types))
    schemas, components = msgspec.json.schema_components(distinct, ref_template=REF)
    for name, kind in structs_in(distinct).items():
        members = components[name].get("properties", {})
        for member, text in member_docs(kind).items():
            members[member].setdefault("description", text)
    return dict(zip(distinct, schemas, strict=True)), dict(components)


def _described(
    path: str, tags: list[str], operation: Operation, schemas: dict[Any, Any]
) -> dict[str, Any]:
    fails = {*_COMMON_FAILS, *operation.said.fails}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": _needed(operation),
        "tags": tags,
        "parameters": _parameters(path, operation),
    }
    if operation.said.token_in_query:
        described["security"] = [{"token": []}, {"user": []}, {"tokenInQuery": []}]
    if operation.raw:
        fails |= set(_BODY_FAILS)
        content: dict[str, Any] = {"*/*": {"schema": _BINARY}}
        if operation.body is not None:
            content = {"application/json": {"schema": schemas[operation.body]}}
        required = operation.body is not None
        described["requestBody"] = {"required": required, "content": content}
    elif operation.body is not None:
        fails |= set(_BODY_FAILS)
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": {"schema": schemas[operation.body]}},
        }
    answers = {
        str(status): _answer(status, kind, schemas)
        for status, kind in operation.said.answers.items()
    }
    for content in answers["200"]["content"].values() if operation.said.events else ():
        content["x-events"] = [schemas[kind] for kind in operation.said.events]
    refs = {str(one): {"$ref": f"#/components/responses/{one}"} for one in sorted(fails)}
    described["responses"] = {**answers, **refs}
    return described


def _needed(operation: Operation) -> str:
    kind = "installation role" if operation.said.installation else "role"
    return f"Needs the {kind} `{operation.said.role.word}`."


def _answer(status: int, kind: Any, schemas: dict[Any, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _MEANINGS[status]}
    if isinstance(kind, str):
        schema = _BINARY if "octet" in kind or kind == "*/*" else {"type": "string"}
        answer["content"] = {kind: {"schema": schema}}
    elif kind is not None:
        answer["content"] = {"application/json": {"schema": schemas[kind]}}
    return answer


def _problem(status: int) -> dict[str, Any]:
    kind = _KINDS[status]
    answer: dict[str, Any] = {
        "description": TITLES[kind],
        "content": {
            "application/problem+json": {
                "schema": {"$ref": REF.format(name="Problem")},
                "example": {
                    "type": f"about:blank#{kind}",
                    "title": TITLES[kind],
                    "status": status,
                },
            }
        },
    }
    if status in {429, 503}:
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    if status == 401:
        answer["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return answer


def _parameters(path: str, operation: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    for name in _PARAMETER.findall(path):
        schema = _PATH_SCHEMAS[name]
        if name == "name" and "/groups/" not in path:
            schema = _NAMES
        parameters.append({"name": name, "in": "path", "required": True, "schema": schema})
    if operation.query is not NoQuery:
        parameters += _query(operation.query)
    return parameters


def _query(kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
    (_,), components = msgspec.json.schema_components([kind], ref_template=REF)
    parameters, described = [], components[kind.__name__]
    for name, schema in described["properties"].items():
        shown = {key: value for key, value in schema.items() if key not in {"default", "title"}}
        if schema.get("default"):
            shown["default"] = schema["default"]
        description = shown.pop("description", None)
        is_required = name in described.get("required", ())
        parameter = {"name": name, "in": "query", "required": is_required, "schema": shown}
        if description:
            parameter["description"] = description
        parameters.append(parameter)
    return parameters
