"""What can be wrong with a simulation."""

from taskyard.core.errors import TaskyardError


class SimulationError(TaskyardError):
    """The simulation cannot be run."""


class WrongScenario(SimulationError):
    """A scenario cannot be read, or contradicts itself."""

    def __init__(self, problem: str, path: tuple[str, ...] = (), line: int | None = None) -> None:
        self.problem = problem
        """What is wrong, and what would be right."""
        self.path = path
        """Names from the outside in; empty for the file as a whole."""
        self.line = line
        """Of the file, from 1; None if it is not known."""
        where = dotted(path)
        super().__init__(f"{where}: {problem}" if where else problem)


class TooLarge(SimulationError):
    """A scenario is larger than is allowed."""


def dotted(path: tuple[str, ...]) -> str:
    """A path as it can be written in TOML, such as ``workers."rack 1".count``."""
    return ".".join(
        one if one.replace("-", "").replace("_", "").isalnum() and one.isascii() else f'"{one}"'
        for one in path
    )
