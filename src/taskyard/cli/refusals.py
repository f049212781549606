"""Every error of the client as a sentence, a next step, and an exit code."""

from taskyard.cli import exits
from taskyard.cli.errors import Stop
from taskyard.sdk import errors


def stop_for(error: Exception) -> Stop:
    """The end of the command line that an error means."""
    if isinstance(error, Stop):
        return error
    if isinstance(error, errors.Unreachable):
        return Stop(
            str(error),
            exits.UNREACHABLE,
            what_to_do="Is the server running? Start one with 'taskyard up', or name one with "
            "--url or TASKYARD_URL.",
        )
    if isinstance(error, errors.Unreadable):
        return Stop(
            str(error), exits.UNREACHABLE, what_to_do="Check that the address is Taskyard's."
        )
    if isinstance(error, errors.Refused):
        return _refused(error)
    if isinstance(error, UnicodeEncodeError):
        # Arguments and variables reach us with the bytes that are not UTF-8 as surrogates.
        return Stop(
            f"{error.object!a} contains bytes that are not valid UTF-8",
            exits.USAGE,
            what_to_do="A task holds text; pass such bytes in a file, or encode them, "
            "for example as base64.",
        )
    if isinstance(error, OSError):
        return Stop(str(error), exits.TROUBLE)
    return Stop(
        f"{type(error).__name__}: {error}",
        exits.TROUBLE,
        what_to_do="This is a defect; set TASKYARD_DEBUG=1 to see where.",
    )


def _refused(error: errors.Refused) -> Stop:
    message = str(error)
    if isinstance(error, errors.NotAuthenticated):
        hint = "Give a credential with --token or TASKYARD_TOKEN."
        return Stop(message, exits.NOT_ALLOWED, what_to_do=hint)
    if isinstance(error, errors.NotAllowed):
        hint = "Use a credential that has this role."
        return Stop(message, exits.NOT_ALLOWED, what_to_do=hint)
    if isinstance(error, errors.NotFound):
        return Stop(message, exits.NOT_FOUND)
    if isinstance(error, errors.Conflict | errors.FunctionFailed):
        return Stop(message, exits.FAILED)
    if isinstance(error, errors.InvalidRequest):
        problems = "; ".join(
            f"{each.field}: {each.problem}" if each.field else each.problem for each in error.errors
        )
        return Stop(problems or message, exits.INVALID)
    if isinstance(error, errors.Overloaded):
        hint = f"Try again in {error.retry_after_s:g} s."
        return Stop(message, exits.TRY_AGAIN, what_to_do=hint)
    if isinstance(error, errors.Unavailable | errors.StorageFull):
        return Stop(message, exits.TRY_AGAIN, what_to_do="Try again later.")
    request = f" (request {error.request_id})" if error.request_id else ""
    hint = "The server's log tells more."
    return Stop(f"the server failed: {message}{request}", exits.TROUBLE, what_to_do=hint)
