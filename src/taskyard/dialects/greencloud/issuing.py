"""Makes tasks of requests, and answers at once or when they have finished."""

import re
from typing import Final

from taskyard.core.access.principals import Caller
from taskyard.core.errors import Overloaded
from taskyard.core.functions.functions import CallRequest, Function
from taskyard.core.functions.invocations import Allowance, CallOrigin, IssuedCall
from taskyard.dialects.greencloud.call import Call, created
from taskyard.dialects.greencloud.errors import Headers
from taskyard.dialects.greencloud.headers import for_function, header_of
from taskyard.dialects.greencloud.results import result_answer
from taskyard.dialects.http.answers import Answer
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
) -> IssuedCall:
    """A task with this request for its function. Checks in the order of the contract."""
    check_running(function)
    if function.live_version is None:
        raise FunctionNotReady(f"function {function.id} has no deployed code")
    issuing = call.engine.issuing
    await issuing.check(allowances)
    scope = call.scope
    request = CallRequest(
        body=await call.body(call.greencloud.settings.max_body_bytes),
        headers=for_function(scope),
        query=scope["query_string"].decode("latin-1"),
        method=str(scope.get("method")),
        host=header_of(scope, b"host") or "",
    )
    prepared = issuing.prepare(caller, function.id, request, origin, allowances)
    return await issuing.issue(prepared)


async def answered(
    call: Call, caller: Caller, issued: IssuedCall, headers: Headers = ()
) -> Answer | None:
    """The result, if the request waits for it and it comes in time."""
    wait_s = _wanted_wait(header_of(call.scope, b"prefer"))
    if wait_s is None:
        return None
    issuing = call.engine.issuing
    view = await issuing.view(issued.id)
    try:
        with call.greencloud.host.streams.waiting(caller):
            view = await while_valid(call.engine.clock, caller, issuing.wait(caller, view, wait_s))
    except Overloaded:
        return None  # Waiting is a preference (RFC 7240): too many of the account's wait already.
    if not view.is_over:
        return None
    applied = (*headers, (b"preference-applied", b"wait"))
    return await result_answer(call.greencloud, caller, view, applied)


async def create_task(call: Call) -> Answer:
    """``POST /v1/task/{functionId}``."""
    issued = await issue(call, call.caller, call.function(), CallOrigin(), call.quota())
    return await answered(call, call.caller, issued) or created(issued.id)


def _wanted_wait(header: str | None) -> float | None:
    for preference in (header or "").split(","):
        found = _WAIT.match(preference.strip())
        if found:
            return min(float(found[1]), MOST_WAIT_S)
    return None
