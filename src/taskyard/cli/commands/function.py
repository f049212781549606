"""``taskyard function``."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from taskyard.cli import exits
from taskyard.cli.connection import Connection
from taskyard.cli.errors import Misuse, Stop
from taskyard.cli.function_build import follow_build
from taskyard.cli.function_source import body_of, bundle_of, language_of, pairs_of, write_template
from taskyard.cli.output import note, plain, print_json, print_table, say, write_error, write_out
from taskyard.cli.quantities import seconds
from taskyard.sdk.functions import Function, Invocation

app = App(name="function", help="Functions: write, deploy, invoke.")


@app.command
def init(
    directory: str,
    *,
    language: Annotated[str, Parameter(name=["--language", "-l"])] = "python",
) -> None:
    """Write a new function to start from.

    Args:
        directory: Where; its name suits as the function's.
        language: python or javascript.
    """
    for path in write_template(Path(directory), language):
        say(str(path))


@app.command
def deploy(
    name: str,
    path: str | None = None,
    *,
    image: str | None = None,
    registry_secret: str | None = None,
    language: Annotated[str | None, Parameter(name=["--language", "-l"])] = None,
    handler: str | None = None,
    timeout: str | None = None,
    memory: str | None = None,
    cpu: float | None = None,
    requires: list[str] | None = None,
    tag: list[str] | None = None,
    detach: Annotated[bool, Parameter(name=["--detach", "-d"])] = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Deploy a directory, a file or an image as a new version, and show its build.

    Args:
        name: Name of the function; made if there is none.
        path: Directory, archive or file of source; the present directory if nothing is named.
        image: Container image that answers calls, instead of source.
        registry_secret: Name of a secret with credentials for the image's registry.
        language: python or javascript; told from the files otherwise.
        handler: File with the handler, inside the source.
        timeout: Time limit of a call, such as 30s.
        memory: Memory limit of a call, such as 256MiB.
        cpu: Cores a call may use.
        requires: A dependency; repeatable.
        tag: A tag; repeatable.
        detach: Do not wait for the build.
        connection: Which server.
    """
    bundle: bytes | None = None
    if image is None:
        source = Path(path or ".")
        bundle = bundle_of(source)
        language = language or language_of(source)
    elif path is not None:
        raise Misuse("give either a path or --image")
    limits: dict[str, Any] = {}
    if timeout is not None:
        limits["timeout_s"] = seconds(timeout, "--timeout")
    if memory is not None:
        limits["memory"] = memory
    if cpu is not None:
        limits["cpu"] = cpu
    with connection.open() as client:
        deployed = client.functions.deploy(
            name,
            bundle,
            image=image,
            credentials=registry_secret,
            language=language,
            handler=handler,
            limits=limits or None,
            dependencies=requires,
            tags=tag,
        )
        version = deployed.version
        if not detach:
            text = follow_build(client, name, version.number, quiet=connection.as_json)
            version = next(
                one for one in client.functions.versions(name) if one.number == version.number
            )
            if connection.as_json:
                print_json({**msgspec.to_builtins(version), "log": text})
            else:
                told = f"function {deployed.function.id}"
                say(f"{name} version {version.number}: {version.state}, {told}")
            return exits.OK if version.state == "ready" else exits.FAILED
    if connection.as_json:
        print_json(deployed)
    else:
        say(f"{name} version {version.number}: {version.state}")
    return exits.OK


@app.command
def invoke(
    name: str,
    body: str | None = None,
    *,
    query: list[str] | None = None,
    content_type: str | None = None,
    wait: str = "60s",
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Call a function and print what it answers; exits with 1 for a status of 400 or more.

    Args:
        name: Name of the function.
        body: Body of the call; - reads standard input.
        query: NAME=VALUE for the query string; repeatable.
        content_type: Content type of the body.
        wait: How long to wait, up to 60s.
        connection: Which server.
    """
    with connection.open() as client:
        answer = client.functions.invoke(
            name,
            body_of(body),
            query=pairs_of(query),
            content_type=content_type,
            wait_s=seconds(wait, "--wait"),
        )
    if not isinstance(answer, Invocation):
        raise Stop(
            f"the call goes on as task {answer.id}",
            exits.TRY_AGAIN,
            what_to_do=f"See 'taskyard wait {answer.id}'.",
        )
    if connection.json:
        print_json(
            {
                "task_id": answer.task_id,
                "status": answer.status,
                "headers": answer.headers,
                "body": answer.body.decode("utf-8", "replace"),
            }
        )
    else:
        write_out(answer.body + (b"" if answer.body.endswith(b"\n") else b"\n"))
    return exits.OK if answer.status < 400 else exits.FAILED


@app.command(name="run-local")
def run_local(
    path: str = ".",
    body: str | None = None,
    *,
    language: Annotated[str | None, Parameter(name=["--language", "-l"])] = None,
    query: list[str] | None = None,
    content_type: str | None = None,
    timeout: str = "10s",
) -> int:
    """Build and call a function on this machine, without a server.

    Args:
        path: Directory or file of source.
        body: Body of the call; - reads standard input.
        language: python or javascript; told from the files otherwise.
        query: NAME=VALUE for the query string; repeatable.
        content_type: Content type of the body.
        timeout: Time limit of the call.
    """
    from urllib.parse import urlencode  # noqa: PLC0415 - only here

    from taskyard.cli.function_local import run_locally  # noqa: PLC0415 - loads the runtime
    from taskyard.core.functions import CallRequest  # noqa: PLC0415 - as above
    from taskyard.ports.functions import BuildFailed  # noqa: PLC0415 - as above

    source = Path(path)
    bundle = bundle_of(source)
    found = language or language_of(source)
    if found not in {"python", "javascript"}:
        raise Misuse(f"{path}: name the language with --language python or javascript")
    headers = () if content_type is None else (("content-type", content_type),)
    request = CallRequest(
        body=body_of(body),
        headers=headers,
        query=urlencode(pairs_of(query) or {}),
        host="localhost",
    )
    try:
        call = run_locally(bundle, found, request, seconds(timeout, "--timeout"))
    except BuildFailed as error:
        raise Stop(str(error)) from error
    write_error(call.stdout + call.stderr)
    if call.ended is None or call.ended.result is None:
        raise Stop(str(call.ended.message) if call.ended else "the call never ended")
    note(f"status {call.ended.result.status}")
    write_out(call.body + (b"" if call.body.endswith(b"\n") else b"\n"))
    return exits.OK if call.ended.result.status < 400 else exits.FAILED


@app.command
def ls(
    *,
    deleted: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List functions.

    Args:
        deleted: Those that were deleted, and can be restored by their id.
        connection: Which server.
    """
    with connection.open() as client:
        found = client.functions.list(deleted=deleted)
    if connection.as_json:
        print_json(found)
        return
    rows = [
        (
            plain(one.name),
            plain(one.language),
            plain("-" if one.live_version is None else one.live_version),
            plain("paused" if one.paused else ""),
            plain(one.id),
        )
        for one in found
    ]
    print_table(("NAME", "LANGUAGE", "LIVE>", "", "FUNCTION"), rows)


@app.command
def versions(
    name: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List the versions of a function, newest first.

    Args:
        name: Name of the function.
        connection: Which server.
    """
    with connection.open() as client:
        found = client.functions.versions(name)
    if connection.as_json:
        print_json(found)
        return
    rows = [
        (
            plain(one.number),
            plain(one.state),
            plain("live" if one.live else ""),
            plain(one.created_by),
            plain(one.message),
        )
        for one in found
    ]
    print_table(("VERSION>", "STATE", "", "BY", "MESSAGE"), rows)


@app.command
def logs(
    name: str,
    *,
    version: int | None = None,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Print the log of a build. What a call printed is in 'taskyard logs TASK'.

    Args:
        name: Name of the function.
        version: Which version; the newest otherwise.
        connection: Which server.
    """
    with connection.open() as client:
        number = version or client.functions.get(name).last_version
        write_out(client.functions.build_log(name, number).encode())


@app.command
def rollback(
    name: str,
    version: int | None = None,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Let new calls use an earlier version.

    Args:
        name: Name of the function.
        version: Which version; the ready one before the live one otherwise.
        connection: Which server.
    """
    with connection.open() as client:
        _show(client.functions.roll_back(name, version), connection)


@app.command
def pause(
    name: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Take no more calls, and leave waiting ones waiting.

    Args:
        name: Name of the function.
        connection: Which server.
    """
    with connection.open() as client:
        _show(client.functions.pause(name), connection)


@app.command
def resume(
    name: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Take calls again.

    Args:
        name: Name of the function.
        connection: Which server.
    """
    with connection.open() as client:
        _show(client.functions.resume(name), connection)


@app.command
def rm(
    name: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Delete a function; results of its calls stay.

    Args:
        name: Name of the function.
        connection: Which server.
    """
    with connection.open() as client:
        client.functions.delete(name)
    if connection.as_json:
        print_json({"removed": name})
    else:
        say(f"removed {name}")


@app.command
def restore(
    function_id: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Bring a deleted function back.

    Args:
        function_id: Its id, see 'ls --deleted'.
        connection: Which server.
    """
    with connection.open() as client:
        _show(client.functions.restore(function_id), connection)


def _show(function: Function, connection: Connection) -> None:
    if connection.as_json:
        print_json(function)
    else:
        state = "paused" if function.paused else f"version {function.live_version} is live"
        say(f"{function.name}: {state}")
