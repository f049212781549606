"""Why the command line gives up: one sentence and an exit code."""

from taskyard.cli import exits


class Stop(Exception):
    """End with a message for people and a code for scripts."""

    def __init__(self, message: str, code: int = exits.FAILED, *, what_to_do: str = "") -> None:
        self.message = message
        self.code = code
        self.what_to_do = what_to_do
        """The next step, as a sentence; may be empty."""
        super().__init__(message)


class Misuse(Stop):
    """The command line is wrong."""

    def __init__(self, message: str, *, what_to_do: str = "") -> None:
        super().__init__(message, exits.USAGE, what_to_do=what_to_do)
