"""``taskyard function``."""

import time
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from taskyard.cli import exit_status
from taskyard.cli.commands.function_calls import invoke, run_local
from taskyard.cli.connection import Connection
from taskyard.cli.errors import CommandError, UsageError
from taskyard.cli.frame import Printed, client_command, lines, table
from taskyard.cli.function_source import bundle_of, language_of, next_steps, write_template
from taskyard.cli.function_templates import IMAGE_LANGUAGES
from taskyard.cli.output import on_terminal, print_json, write_error, write_out
from taskyard.cli.quantities import seconds, size_bytes
from taskyard.sdk import Client
from taskyard.sdk.models import Function, FunctionVersion

_POLL_S: Final = 0.2
_BUILD_WAIT_S: Final = 600.0

app = App(name="function", help="Functions: write, deploy, invoke.", version_flags=[])


@app.command
def init(
    directory: str,
    *,
    language: Annotated[str, Parameter(name=["--language", "-l"])] = "python",
    json: bool = False,
) -> None:
    """Write a template of a function.

    Args:
        directory: Directory to write to; named like the function.
        language: python, javascript, go or ruby; csharp or rust, for the source of an image.
        json: Print JSON, the default when the output is not a terminal.
    """
    written = [str(path) for path in write_template(Path(directory), language)]
    steps = next_steps(Path(directory).resolve().name, directory)
    hint = [f"Next: {steps}"] if language in IMAGE_LANGUAGES else []
    lines({"files": written}, [*written, *hint]).print(as_json=json or not on_terminal())


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
        name: Name of the function; created if it does not exist.
        path: Directory, archive or file of source; the current directory by default.
        image: Container image that answers calls, instead of source.
        registry_secret: Name of a secret with credentials for the image's registry.
        language: python, javascript, go or ruby; detected from the files by default.
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
            raise UsageError(f"functions in {language} are container images: {steps}")
    elif path is not None:
        raise UsageError("give either a path or --image, not both")
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
            version, text = _follow_build(client, function.id, version, quiet=quiet)
            function = client.functions.get(function.id)
    return lines(
        {"function": function, "version": version, "log": text},
        [f"{name} version {version.number}: {version.state}, function {function.id}"],
        exit_status.FAILED if version.state == "failed" else exit_status.OK,
    ).print(as_json=connection.as_json)


app.command(invoke)
app.command(run_local, name="run-local")


@app.command
@client_command
def ls(client: Client, *, deleted: bool = False) -> Printed:
    """List functions.

    Args:
        deleted: Deleted functions, which can be restored by name or id.
    """
    return table(
        client.functions.list(deleted=deleted),
        {
            "NAME": lambda one: one.name,
            "LANGUAGE": lambda one: one.language,
            "LIVE>": lambda one: one.live_version or "-",
            "": lambda one: "paused" if one.paused else "",
            "FUNCTION": lambda one: one.id,
        },
    )


@app.command
@client_command
def versions(client: Client, name: str) -> Printed:
    """List the versions of a function, newest first.

    Args:
        name: Name of the function.
    """
    return table(
        client.functions.versions(name),
        {
            "VERSION>": lambda one: one.number,
            "STATE": lambda one: one.state,
            "": lambda one: "live" if one.live else "",
            "BY": lambda one: one.created_by,
            "MESSAGE": lambda one: one.message,
        },
    )


@app.command
def logs(
    name: str,
    *,
    version: int | None = None,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Print the log of a build. For the output of a call, see 'taskyard logs TASK'.

    Args:
        name: Name of the function.
        version: Number of the version; the newest by default.
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
@client_command
def rollback(client: Client, name: str, version: int | None = None) -> Printed:
    """Let new calls use an earlier version.

    Args:
        name: Name of the function.
        version: Number of the version; by default the last one that was built before the live one.
    """
    return _state(client.functions.roll_back(name, version))


@app.command
@client_command
def pause(client: Client, name: str) -> Printed:
    """Start no more calls; those already queued keep waiting.

    Args:
        name: Name of the function.
    """
    return _state(client.functions.pause(name))


@app.command
@client_command
def resume(client: Client, name: str) -> Printed:
    """Start calls again.

    Args:
        name: Name of the function.
    """
    return _state(client.functions.resume(name))


@app.command
@client_command
def rm(client: Client, name: str) -> Printed:
    """Delete a function; results of its calls are kept.

    Args:
        name: Name of the function.
    """
    client.functions.delete(name)
    return lines({"removed": name}, [f"removed {name}"])


@app.command
@client_command
def restore(client: Client, name: str) -> Printed:
    """Restore a deleted function.

    Args:
        name: Name, for the last function of that name, or id; see 'taskyard function ls --deleted'.
    """
    return _state(client.functions.restore(name))


def _state(function: Function) -> Printed:
    state = "paused" if function.paused else f"version {function.live_version} is live"
    return lines(function, [f"{function.name}: {state}"])


def _follow_build(
    client: Client, key: str, version: FunctionVersion, *, quiet: bool
) -> tuple[FunctionVersion, str]:
    """Show the log of a build as it grows; the version once it has ended, and the whole log.

    Raises ``CommandError`` after ten minutes.
    """
    functions = client.functions
    shown = ""
    give_up_at = time.monotonic() + _BUILD_WAIT_S
    while True:
        version = functions.version(key, version.number)
        text = functions.build_log(key, version.number)
        if not quiet:
            write_error(text[len(shown) :].encode())
        shown = text
        if version.state not in {"pending", "building"}:
            return version, text
        if time.monotonic() > give_up_at:
            raise CommandError(
                "the build has not ended after 10 minutes",
                exit_status.TRY_AGAIN,
                what_to_do=f"See 'taskyard function versions {key}'.",
            )
        time.sleep(_POLL_S)
