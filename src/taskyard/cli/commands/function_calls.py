"""``taskyard function invoke`` and ``run-local``: calls, on a server and on this machine."""

import base64
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from cyclopts import Parameter

from taskyard.cli import exit_status
from taskyard.cli.connection import Connection
from taskyard.cli.errors import CommandError, UsageError
from taskyard.cli.function_source import (
    body_of,
    bundle_of,
    language_of,
    next_steps,
    pairs_of,
)
from taskyard.cli.function_templates import IMAGE_LANGUAGES, TEMPLATES
from taskyard.cli.output import note, on_terminal, print_json, write_error, write_out
from taskyard.cli.quantities import seconds
from taskyard.sdk import Client
from taskyard.sdk.errors import FunctionFailed, Refused
from taskyard.sdk.function_requests import Invocation

_SHOWN_BYTES: Final = 16 << 10
"""Of what a failed call wrote, its end."""
Body = Annotated[str | None, Parameter(allow_leading_hyphen=True)]


def invoke(
    name: str,
    body: Body = None,
    *,
    query: list[str] | None = None,
    content_type: str | None = None,
    wait: str = "60s",
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Call a function and print its response; exits with 1 if the status is 400 or more.

    Args:
        name: Name of the function.
        body: Request body; - reads standard input.
        query: NAME=VALUE for the query string; repeatable.
        content_type: Content type of the request body.
        wait: How long to wait, at most 60s.
        connection: Which server.
    """
    wait_s = seconds(wait, "--wait")
    pairs, content = pairs_of(query), body_of(body)
    with connection.open() as client:
        try:
            answer = client.functions.invoke(
                name, content, query=pairs, content_type=content_type, wait_s=wait_s
            )
        except FunctionFailed as error:
            raise _explained(client, error, connection.json) from error
    if not isinstance(answer, Invocation):
        raise CommandError(
            f"the call has not ended; it continues as task {answer.id}",
            exit_status.TRY_AGAIN,
            what_to_do=f"See 'taskyard wait {answer.id}'.",
        )
    known = {"task_id": answer.task_id} if connection.json else None
    return _show(answer.status, answer.headers, answer.body, known)


def _explained(client: Client, error: FunctionFailed, is_json: bool) -> CommandError:
    """Show what a failed call wrote about it, such as a traceback, and say where all of it is.

    With JSON, programs get nothing but one document.
    """
    if error.task_id is None:
        return CommandError(str(error))
    if not is_json:
        # It may be deleted already; that the call failed is what matters.
        with contextlib.suppress(Refused):
            write_error(b"".join(client.log_chunks(error.task_id, "stderr"))[-_SHOWN_BYTES:])
    hint = f"See 'taskyard logs {error.task_id}' for its whole output."
    return CommandError(str(error), what_to_do=hint)


def run_local(
    path: str = ".",
    body: Body = None,
    *,
    language: Annotated[str | None, Parameter(name=["--language", "-l"])] = None,
    query: list[str] | None = None,
    content_type: str | None = None,
    timeout: str = "10s",
    json: bool = False,
) -> int:
    """Build and call a function on this machine, without a server.

    Args:
        path: Directory or file of source.
        body: Request body; - reads standard input.
        language: python, javascript, go or ruby; detected from the files by default.
        query: NAME=VALUE for the query string; repeatable.
        content_type: Content type of the request body.
        timeout: Time limit of the call.
        json: Print JSON: the response, and what the function printed.
    """
    from taskyard.cli.function_local import run_locally  # noqa: PLC0415 - loads the runtime
    from taskyard.core.functions.functions import CallRequest  # noqa: PLC0415 - as above
    from taskyard.ports.errors import RuntimeUnavailable  # noqa: PLC0415 - as above
    from taskyard.ports.functions import BuildFailed  # noqa: PLC0415 - as above

    source = Path(path)
    bundle = bundle_of(source)
    found = language or language_of(source)
    if found in IMAGE_LANGUAGES:
        raise UsageError(f"functions in {found} are container images: {next_steps('NAME', path)}")
    if found not in TEMPLATES:
        raise UsageError(
            f"{path}: the language cannot be detected; name it with --language,"
            f" one of: {', '.join(TEMPLATES)}"
        )
    request = CallRequest(
        body=body_of(body),
        headers=() if content_type is None else (("content-type", content_type),),
        query=urlencode(pairs_of(query) or {}),
        host="localhost",
    )
    lines: list[str] = []
    try:
        call = run_locally(bundle, found, request, seconds(timeout, "--timeout"), lines.append)
    except RuntimeUnavailable as error:
        raise CommandError(str(error)) from error
    except BuildFailed as error:
        for line in lines:
            note(line)
        raise CommandError(str(error)) from error
    result, said = call.ended.result, call.ended.message or "the call ended without a response"
    printed = {"stdout": call.stdout, "stderr": call.stderr}
    known = {name: text.decode("utf-8", "replace") for name, text in printed.items()}
    if not json:
        write_error(call.stdout + call.stderr)
    if result is not None:
        if not json:
            note(f"status {result.status}")
        return _show(result.status, dict(result.headers), call.body, known if json else None)
    if not json:
        raise CommandError(said)
    print_json({**known, "error": said})
    return exit_status.FAILED


def _show(
    status: int, headers: Mapping[str, str], body: bytes, known: Mapping[str, Any] | None
) -> int:
    """Print an answer: its body as it is, or all of it as JSON along with what else is known."""
    if known is None:
        # For people the prompt begins on a line of its own; programs get every byte and no more.
        ended = body.endswith(b"\n") or not on_terminal()
        write_out(body if ended else body + b"\n")
    else:
        print_json({**known, "status": status, "headers": headers, **_content(body)})
    return exit_status.OK if status < 400 else exit_status.FAILED


def _content(body: bytes) -> dict[str, str]:
    """A body inside JSON: as text if it is some, and otherwise in base64."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}
