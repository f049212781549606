"""The ``taskyard`` program: its commands, and how it reports their errors."""

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from cyclopts import App, CycloptsError, Group, Parameter

from taskyard import __version__
from taskyard.cli import exit_status
from taskyard.cli.errors import CommandError, usage_error
from taskyard.cli.operands import END, with_end_of_options
from taskyard.cli.output import discard, flush_out, open_closed_streams

_RUNNING: Final = Group.create_ordered("Tasks")
_SETTINGS: Final = Group.create_ordered("Workspace")
_MACHINE: Final = Group.create_ordered("Machine")

COMMANDS: Final = (
    ("run", "run:run", "Run a command, stream its output, exit as it does.", _RUNNING),
    ("submit", "submit:submit", "Submit a command, or many tasks from a file.", _RUNNING),
    ("ls", "ls:ls", "List tasks.", _RUNNING),
    ("show", "tasks:show", "Show a task and its attempts.", _RUNNING),
    ("logs", "logs:logs", "Print output, or follow it.", _RUNNING),
    ("wait", "tasks:wait", "Wait until tasks have ended.", _RUNNING),
    ("why", "tasks:why", "Explain why a task is waiting, or how it ended.", _RUNNING),
    ("kill", "kill:kill", "Cancel or kill tasks, with proof.", _RUNNING),
    ("retry", "tasks:retry", "Submit ended tasks again.", _RUNNING),
    ("rm", "tasks:rm", "Remove ended tasks and their output.", _RUNNING),
    ("events", "events:events", "Follow changes live, or print a task's history.", _RUNNING),
    ("function", "function:app", "Functions: write, deploy, invoke.", _RUNNING),
    ("cron", "cron:app", "Recurring tasks.", _SETTINGS),
    ("group", "group:app", "Groups: pause, resume, limit.", _SETTINGS),
    ("webhook", "webhook:app", "Webhook deliveries.", _SETTINGS),
    ("token", "token:app", "Access tokens.", _SETTINGS),
    ("user", "user:app", "Users with passwords.", _SETTINGS),
    ("secret", "secret:app", "Secrets for the environments of tasks.", _SETTINGS),
    ("audit", "operations:audit", "Print who did what.", _SETTINGS),
    ("up", "up:up", "Start the server.", _MACHINE),
    ("worker", "worker:app", "Workers.", _MACHINE),
    ("cluster", "cluster:app", "Control planes.", _MACHINE),
    ("parked", "operations:parked", "List what background work failed on and set aside.", _MACHINE),
    ("store", "store:app", "The store: check, copy to another database.", _MACHINE),
    ("backup", "backup:backup", "Save everything a store holds in one archive.", _MACHINE),
    ("restore", "backup:restore", "Make a store of a backup.", _MACHINE),
    ("simulate", "simulate:simulate", "Try a change before you make it.", _MACHINE),
    ("doctor", "doctor:doctor", "Check this machine and suggest fixes.", _MACHINE),
    ("version", "version:version", "Print the version.", _MACHINE),
)
"""Name, place below ``taskyard.cli.commands``, help, and where help lists it."""


def build() -> App:
    """The program; its commands are imported when they are called."""
    app = App(
        name="taskyard",
        help="A durable task execution service: submit, run, watch, retry, kill with proof.",
        version=__version__,
        default_parameter=Parameter(negative=(), show_default=False),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
    )
    for name, place, words, group in COMMANDS:
        # Those with commands of their own say it where they are made.
        flags: dict[str, Any] = {} if place.endswith(":app") else {"version_flags": []}
        app.command(f"taskyard.cli.commands.{place}", name=name, help=words, group=group, **flags)
    return app


def main() -> None:
    """Run the command line and exit the process; the entry point."""
    open_closed_streams()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; answers with its exit code, see :mod:`taskyard.cli.exit_status`."""
    app = build()
    given = with_end_of_options(app, arguments)
    as_json = "--json" in (given[: given.index(END)] if END in given else given)
    failed = exit_status.TROUBLE if given[:1] == ["run"] else None
    try:
        result: Any = app(given)
        flush_out()
    except CycloptsError as error:
        return _report(usage_error(error), as_json)
    except CommandError as stop:
        code = failed if failed is not None and stop.code != exit_status.USAGE else stop.code
        return _report(stop, as_json, code)
    except BrokenPipeError:
        discard(sys.stdout)
        return exit_status.BROKEN_PIPE
    except KeyboardInterrupt:
        return exit_status.INTERRUPTED
    except Exception as error:
        from taskyard.cli.error_messages import command_error  # noqa: PLC0415 - needs the client's errors

        if "TASKYARD_DEBUG" in os.environ:
            raise
        end_of_it = command_error(error)
        code = (
            failed if failed is not None and end_of_it.code != exit_status.USAGE else end_of_it.code
        )
        return _report(end_of_it, as_json, code)
    return result if isinstance(result, int) else exit_status.OK


def _report(stop: CommandError, as_json: bool, code: int | None = None) -> int:
    code = stop.code if code is None else code
    if as_json:
        import msgspec  # noqa: PLC0415 - not needed by most runs of 'version'

        document = {"error": stop.message, "what_to_do": stop.what_to_do, "exit_code": code}
        line = msgspec.json.encode(document).decode()
    else:
        end = "" if stop.message.endswith((".", "!", "?")) or not stop.what_to_do else "."
        line = f"taskyard: {stop.message}{end} {stop.what_to_do}".rstrip()
    try:
        sys.stderr.buffer.write(line.encode("utf-8", "backslashreplace") + b"\n")
        sys.stderr.buffer.flush()
    except OSError:
        # There is nowhere left to say it; the exit code remains.
        discard(sys.stderr)
    return code
