"""``taskyard function``."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from taskyard.cli import exit_status
from taskyard.cli.commands.function_calls import invoke, run_local
from taskyard.cli.connection import Connection
from taskyard.cli.errors import UsageError
from taskyard.cli.function_build import follow_build
from taskyard.cli.function_source import bundle_of, language_of, next_steps, write_template
from taskyard.cli.function_templates import IMAGE_LANGUAGES
from taskyard.cli.output import on_terminal, plain, print_json, print_table, say, write_out
from taskyard.cli.quantities import seconds, size_bytes
from taskyard.sdk.function_requests import Function, Version

app = App(name="function", help="Functions: write, deploy, invoke.", version_flags=[])


@app.command
def init(
    directory: str,
    *,
    language: Annotated[str, Parameter(name=["--language", "-l"])] = "python",
    json: bool = False,
) -> None:
    """Write a new function to start from.

    Args:
        directory: Where; its name suits as the function's.
        language: python, javascript, go or ruby; csharp or rust, for the source of an image.
        json: Print JSON, as is done anyway when the output is no terminal.
    """
    written = [str(path) for path in write_template(Path(directory), language)]
    if json or not on_terminal():
        print_json({"files": written})
    else:
        say("\n".join(written))
        if language in IMAGE_LANGUAGES:
            say(f"Next: {next_steps(Path(directory).resolve().name, directory)}")


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
        language: python, javascript, go or ruby; told from the files otherwise.
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
        if language in IMAGE_LANGUAGES:
            steps = next_steps(name, path or ".")
            raise Misuse(f"functions in {language} are container images: {steps}")
    elif path is not None:
        raise UsageError("give either a path or --image")
    limits = {
        "timeout_s": None if timeout is None else seconds(timeout, "--timeout"),
        "memory": None if memory is None else str(size_bytes(memory, "--memory")),
        "cpu": cpu,
    }
    with connection.open() as client:
        deployed = client.functions.deploy(
            name,
            bundle,
            image=image,
            credentials=registry_secret,
            language=language,
            handler=handler,
            limits={key: value for key, value in limits.items() if value is not None} or None,
            dependencies=requires,
            tags=tag,
        )
        function, version = deployed.function, deployed.version
        text = None
        if not detach:
            quiet = connection.as_json
            version, text = follow_build(client.functions, function.id, version, quiet=quiet)
            function = client.functions.get(function.id)
    if connection.as_json:
        print_json({"function": function, "version": version, "log": text})
    else:
        say(f"{name} version {version.number}: {version.state}, function {function.id}")
    return exit_status.FAILED if version.state == "failed" else exit_status.OK


app.command(invoke)
app.command(run_local, name="run-local")


@app.command
def ls(
    *,
    deleted: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List functions.

    Args:
        deleted: Those that were deleted, and can be restored by their name or id.
        connection: Which server.
    """
    with connection.open() as client:
        found = client.functions.list(deleted=deleted)
    columns = ("NAME", "LANGUAGE", "LIVE>", "", "FUNCTION")
    rows = (
        (one.name, one.language, one.live_version or "-", "paused" if one.paused else "", one.id)
        for one in found
    )
    _show_all(found, columns, rows, connection)


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
    columns = ("VERSION>", "STATE", "", "BY", "MESSAGE")
    rows = (
        (one.number, one.state, "live" if one.live else "", one.created_by, one.message)
        for one in found
    )
    _show_all(found, columns, rows, connection)


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
        number = client.functions.get(name).last_version if version is None else version
        text = client.functions.build_log(name, number)
    if connection.json:
        print_json({"function": name, "version": number, "log": text})
    else:
        write_out(text.encode())


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
    name: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Bring a deleted function back.

    Args:
        name: Its name, for the last one of that name, or its id; see 'ls --deleted'.
        connection: Which server.
    """
    with connection.open() as client:
        _show(client.functions.restore(name), connection)


def _show_all(
    found: Sequence[Function | Version],
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    connection: Connection,
) -> None:
    if connection.as_json:
        print_json(found)
    else:
        print_table(columns, [[plain(cell) for cell in row] for row in rows])


def _show(function: Function, connection: Connection) -> None:
    if connection.as_json:
        print_json(function)
    else:
        state = "paused" if function.paused else f"version {function.live_version} is live"
        say(f"{function.name}: {state}")
