"""Creates tasks from requests, and waits for their results where clients prefer that."""

import re
from typing import Final

from taskyard.core.access.principals import Caller
from taskyard.core.errors import Overloaded
from taskyard.core.functions.functions import CallRequest, Function
from taskyard.core.functions.invocations import Allowance, CallOrigin, Invocation
from taskyard.dialects.greencloud.dialect import Call
from taskyard.dialects.greencloud.headers import for_function
from taskyard.dialects.greencloud.results import result_answer
from taskyard.dialects.http.answers import Answer, Headers
from taskyard.dialects.http.requests import header_of
from taskyard.services.access.credential_lifetime import while_valid
from taskyard.services.functions.calls import FunctionNotReady, FunctionPaused

MOST_WAIT_S: Final = 60.0
_WAIT: Final = re.compile(r"wait\s*=\s*\"?([0-9]{1,9}(?:\.[0-9]{1,6})?)\"?\Z", re.IGNORECASE)


def check_running(function: Function) -> None:
    """Raise ``FunctionPaused`` if it takes no tasks."""
    if function.paused:
        raise FunctionPaused(f"the function {function.id} is paused")


async def issue(
    call: Call,
    caller: Caller,
    function: Function,
    origin: CallOrigin,
    allowances: tuple[Allowance, ...],
) -> Invocation:
    """A task with this request for its function. Checks in the order of the contract."""
    check_running(function)
    if function.live_version is None:
        raise FunctionNotReady(f"function {function.id} has no deployed code")
    invocations = call.engine.invocations
    await invocations.check(allowances)
    scope = call.scope
    request = CallRequest(
        body=await call.read(call.dialect.settings.max_body_bytes),
        headers=for_function(scope),
        query=scope["query_string"].decode("latin-1"),
        method=str(scope.get("method")),
        host=header_of(scope, b"host") or "",
    )
    prepared = await invocations.prepare(caller, function.id, request, origin, allowances)
    return await invocations.issue(prepared)


async def answered(
    call: Call, caller: Caller, issued: Invocation, headers: Headers = ()
) -> Answer | None:
    """The result, if the request waits for it and it comes in time."""
    wait_s = _wanted_wait(call.header(b"prefer"))
    if wait_s is None:
        return None
    invocations = call.engine.invocations
    view = await invocations.view(issued.id)
    try:
        with call.context.streams.waiting(caller):
            view = await while_valid(
                call.engine.clock, caller, invocations.wait(caller, view, wait_s)
            )
    except Overloaded:
        return None  # Waiting is a preference (RFC 7240): too many of the account's wait already.
    if not view.is_over:
        return None
    applied = (*headers, (b"preference-applied", b"wait"))
    return await result_answer(call.dialect, caller, view, applied)


def _wanted_wait(header: str | None) -> float | None:
    for preference in (header or "").split(","):
        found = _WAIT.match(preference.strip())
        if found:
            return min(float(found[1]), MOST_WAIT_S)
    return None
