"""How calls end, in words: from answers, signals and exit codes to ends of attempts."""

import base64
import binascii
import os
import re
import string
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core import output_index
from taskyard.core.attempts import Confinement, KillReport
from taskyard.core.functions.functions import BLOB_BYTES, CallResult
from taskyard.core.instants import Instant
from taskyard.core.signals import signal_name
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import FunctionCall
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.function.instance import Call

_SUMMARY: Final = 2000
_NAME: Final = frozenset("!#$%&'*+-.^_`|~" + string.ascii_letters + string.digits)
_VALUE: Final = frozenset(chr(code) for code in (9, *range(32, 127), *range(128, 256)))
_ERROR: Final = re.compile(r"(Uncaught )?[A-Za-z_][\w.:]*( \[\w+\])?: .")
"""How a line begins that names an exception and says its words."""


class Outcome(Struct, frozen=True):
    """How a call ended, its output aside."""

    state: AttemptState
    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    result: CallResult | None = None
    kill_report: KillReport | None = None
    blob: bytes | None = None


class InvalidAnswer(Exception):
    """An instance says what no instance says."""


def _printed(payload: bytes, out_size: int, order: object) -> dict[str, bytes]:
    """What was printed, and in what order if we know that: no answer of an instance has bytes."""
    printed = {"stdout": payload[:out_size], "stderr": payload[out_size:]}
    if isinstance(order, bytes):
        printed[output_index.FILE] = order
    return {name: data for name, data in printed.items() if data}


def answered(said: dict[str, Any], payload: bytes) -> tuple[Outcome, dict[str, bytes]]:
    """What an answer means, and what was printed. Raises ``InvalidAnswer``."""
    try:
        body_size, out_size, err_size = (int(one) for one in said["sizes"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidAnswer("sizes") from error
    if min(body_size, out_size, err_size) < 0 or body_size + out_size + err_size != len(payload):
        raise InvalidAnswer("sizes")
    printed = _printed(payload[body_size:], out_size, said.get(output_index.FILE))
    if "error" in said:
        code = said.get("exit")
        outcome = Outcome(
            AttemptState.FAILED,
            Reason.FUNCTION_ERROR,
            str(said["error"])[:2000],
            exit_code=code if isinstance(code, int) else None,
        )
        return outcome, printed
    status, headers = said.get("status"), said.get("headers")
    if type(status) is not int or not 200 <= status <= 599 or not isinstance(headers, list):
        raise InvalidAnswer("status")
    try:
        pairs = tuple((str(name), str(value)) for name, value in headers)
    except (TypeError, ValueError) as error:
        raise InvalidAnswer("headers") from error
    for name, value in pairs:
        wrong = _wrong_with(name, value)
        if wrong is not None:
            text = f"the handler answered with something unusable: {wrong}"
            return Outcome(AttemptState.FAILED, Reason.FUNCTION_ERROR, text), printed
    result = CallResult(status, pairs, payload[:body_size], body_size)
    return Outcome(AttemptState.SUCCEEDED, result=result), printed


def _wrong_with(name: str, value: str) -> str | None:
    """Why HTTP cannot carry a header; None if it can (RFC 9110, 5.1 and 5.5)."""
    if not name or not _NAME.issuperset(name):
        return f"{name!r:.100} is not the name of a header"
    if value.isascii() and value.isprintable():
        return None
    if not _VALUE.issuperset(value):
        letter = next(one for one in value if one not in _VALUE)
        kind = "control character" if letter < "\u0100" else "letter that no header can carry"
        return f"the header {name:.100} contains a {kind}, {letter!r}"
    return None


def summary(text: str) -> str:
    """What failed, in one line out of a whole trace; empty for no text at all."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    for at in range(len(lines) - 1, -1, -1):
        if lines[at].startswith("Traceback ("):
            # Python: behind the last trace, and what the exception says may have lines of its own.
            own = [line for line in lines[at + 1 :] if line and not line[0].isspace()]
            if own:
                return own[0][:_SUMMARY]
    named = [line for line in lines if _ERROR.match(line)]
    if named:
        # Ruby's is repeated at the end; Node shows its stack, and what else is known, behind it.
        return named[-1 if named[-1] == lines[-1] else 0][:_SUMMARY]
    worded = [line for line in lines if any(one.isalpha() for one in line)]
    return " ".join(worded[-1].split())[:_SUMMARY] if worded else text.strip()[:_SUMMARY]


def with_blob(outcome: Outcome, header: str) -> Outcome:
    """Take what the function keeps out of the answer's headers; fail what cannot be kept."""
    if outcome.result is None or not header:
        return outcome
    values = [value for name, value in outcome.result.headers if name.lower() == header.lower()]
    if not values:
        return outcome
    try:
        blob = base64.b64decode(values[-1].strip(), validate=True)
    except (binascii.Error, ValueError):
        text = f"the header {header} of the answer is not base64"
        return Outcome(AttemptState.FAILED, Reason.FUNCTION_ERROR, text)
    if len(blob) > BLOB_BYTES:
        text = f"the header {header} of the answer has more than {BLOB_BYTES} bytes"
        return Outcome(AttemptState.FAILED, Reason.FUNCTION_ERROR, text)
    kept = tuple(pair for pair in outcome.result.headers if pair[0].lower() != header.lower())
    result = replace(outcome.result, headers=kept)
    return replace(outcome, result=result, blob=blob)


def died(call: Call, status: int | None, *, out_of_memory: bool) -> Outcome:
    """What it means that the instance of a call is dead."""
    if call.forced is Reason.TIMEOUT:
        limit = call.assignment.timeout_s
        return Outcome(
            AttemptState.FAILED, Reason.TIMEOUT, f"ran over its time limit of {limit:g} s"
        )
    if call.forced is Reason.KILLED:
        return Outcome(AttemptState.KILLED, Reason.KILLED, "killed")
    if out_of_memory:
        return Outcome(
            AttemptState.FAILED, Reason.OUT_OF_MEMORY, "needed more memory than it may have"
        )
    if status is None:
        return Outcome(
            AttemptState.FAILED, Reason.SIGNAL, "its process ended in the middle of the call"
        )
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        text = f"its process exited with code {code} in the middle of the call"
        return Outcome(AttemptState.FAILED, Reason.EXIT_CODE, text, exit_code=code)
    name = signal_name(-code)
    text = f"its process died of {name} in the middle of the call"
    return Outcome(AttemptState.FAILED, Reason.SIGNAL, text, signal=name)


def confinement(assignment: Assignment) -> Confinement:
    """As whom a function's process runs; how an image's does, its engine sees to."""
    if isinstance(assignment.work, FunctionCall) and assignment.work.image:
        return Confinement(isolation="container")
    uid = assignment.identity.uid
    if uid is not None:
        return Confinement(str(uid), "user")
    return Confinement(str(os.geteuid()), "none" if assignment.sandbox is None else "sandbox")


def kill_report(
    call: Call, now: Instant, method: str, killed: int, survivors: tuple[Any, ...]
) -> KillReport:
    """The proof of a kill."""
    return KillReport(
        requested_at=call.signalled_at or now,
        done_at=now,
        signal=call.signal,
        forced=killed > 0,
        method=method,
        killed_count=killed,
        survivors=survivors,
    )
