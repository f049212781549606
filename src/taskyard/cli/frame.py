"""The frame of a command: it opens the client, calls the command, and prints what it returns.

A command is a function that takes the client first and returns what to print::

    @app.command
    @client_command
    def show(client: Client, name: str) -> Printed:
        group = client.group(name)
        return facts(group, [("group", group.name), ("paused", group.paused)])

The decorator adds the options of :class:`~taskyard.cli.connection.Connection` to its own.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar, cast

from cyclopts import Parameter

from taskyard.cli import exit_status
from taskyard.cli.administration import administering
from taskyard.cli.connection import Connection
from taskyard.cli.errors import CommandError
from taskyard.cli.output import plain, print_facts, print_json, print_table, say
from taskyard.sdk import Client

if TYPE_CHECKING:
    from rich.console import RenderableType

P = ParamSpec("P")
T = TypeVar("T")
_NO_CONNECTION = Connection()


@dataclass(frozen=True, slots=True)
class Printed:
    """What a command prints, and its exit status."""

    value: Any
    """For programs: the JSON document."""
    show: Callable[[], None]
    """Prints the same for people."""
    status: int = exit_status.OK

    def print(self, *, as_json: bool) -> int:
        """Print it in one of the two ways; the exit status."""
        if as_json:
            print_json(self.value)
        else:
            self.show()
        return self.status


def table(
    found: Sequence[T], columns: Mapping[str, Callable[[T], object]], status: int = exit_status.OK
) -> Printed:
    """A row for each record; a column whose name ends in ``>`` is aligned to the right.

    What a column returns is shown as plain text, unless it is made for rich.
    """
    rows = ([_cell(make(one)) for make in columns.values()] for one in found)
    return Printed(found, lambda: print_table(tuple(columns), rows), status)


def facts(value: Any, named: Iterable[tuple[str, object]]) -> Printed:
    """Names and values, one to a line; those without a value are left out."""
    return Printed(value, lambda: print_facts(named))


def lines(value: Any, texts: Iterable[str], status: int = exit_status.OK) -> Printed:
    """Lines of text."""

    def show() -> None:
        for text in texts:
            say(text)

    return Printed(value, show, status)


def _cell(value: object) -> "RenderableType":
    return plain(value) if value is None or isinstance(value, str | int | float) else value  # type: ignore[return-value]  # what is neither is rich's


class _Unopened:
    """Stands for a client that could not be opened: the error is raised when it is used."""

    def __init__(self, error: CommandError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


def client_command(
    function: Callable[Concatenate[Client, P], Printed | Iterator[Printed]],
) -> Callable[..., int]:
    """Make a command of a function that takes a client of the server that the options name.

    An iterator is printed as it goes on; the exit status is the last one's.
    """

    def call(*args: Any, connection: Connection = _NO_CONNECTION, **options: Any) -> int:
        with ExitStack() as stack:
            try:
                client = stack.enter_context(connection.open())
            except CommandError as error:
                # Mistakes on the command line come first: told once the client is used.
                client = cast("Client", _Unopened(error))
            answer = function(client, *args, **options)
            if not isinstance(answer, Printed):
                status = exit_status.OK
                for one in answer:
                    status = one.print(as_json=connection.as_json)
                return status
        return answer.print(as_json=connection.as_json)

    return _as_command(call, function, 1)


def administration_command(
    function: Callable[Concatenate[Client, str | None, P], Printed],
) -> Callable[..., int]:
    """The same for functions that take a client and the workspace to name to it, or None.

    Adds ``--installation``.
    """

    def call(
        *args: Any,
        installation: bool = False,
        connection: Connection = _NO_CONNECTION,
        **options: Any,
    ) -> int:
        with administering(connection, installation=installation) as (client, workspace):
            answer = function(client, workspace, *args, **options)
        return answer.print(as_json=connection.as_json)

    help_text = "Those of the installation, not of a workspace."
    return _as_command(call, function, 2, installation=Annotated[bool, Parameter(help=help_text)])


def _as_command(
    call: Callable[..., int], function: Callable[..., Any], given: int, **added: Any
) -> Callable[..., int]:
    """``call`` under the name and with the options of ``function``, but for those it is given."""
    own = list(inspect.signature(function).parameters.values())[given:]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in added.items()
    ]
    connection = inspect.Parameter(
        "connection",
        inspect.Parameter.KEYWORD_ONLY,
        default=_NO_CONNECTION,
        annotation=Connection,
    )
    parameters = [*own, *options, connection]
    functools.update_wrapper(call, function)
    # The command-line parser reads both; what update_wrapper took over still names the client.
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in parameters}
    return call
