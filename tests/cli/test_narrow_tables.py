"""Tables on terminals that are too narrow for them."""

from rich.console import Console

from taskyard.cli.output import coloured, one_line, plain, table

ID = "01a228e2-84bd-72d5-9ae6-84efdb148e24"


def drawn(columns: tuple[str, ...], *rows: tuple[object, ...], width: int = 80) -> list[str]:
    """The lines of the rows."""
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(table(columns, rows))  # type: ignore[arg-type]  # rows are cells of rich
    return captured.get().splitlines()[2:]


def test_a_task_is_one_line_with_its_state_whole() -> None:
    """A long command is cut off."""
    columns = ("ID", "STATE", "GROUP", "NAME", "TRIES>", "CREATED", "TOOK>", "COMMAND")
    cells = (
        "default",
        "nightly",
        12,
        "10 s ago",
        "143 ms",
        "for i in $(seq 1 20000); do true; done",
    )
    lines = drawn(columns, (plain(ID), coloured("succeeded"), *map(one_line, cells)))
    assert len(lines) == 1
    assert lines[0].startswith(f"{ID}  succeeded  ")
    assert len(lines[0]) <= 80


def test_addresses_are_whole() -> None:
    """As one copies them; other columns give way."""
    address = "http://control-plane-1.example.com:18101"
    lines = drawn(("PLANE", "ADDRESS", "MACHINE"), (plain("a-1"), plain(address), plain("m" * 60)))
    assert address in lines[0]
