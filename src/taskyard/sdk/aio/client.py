"""The asynchronous client."""

from taskyard.sdk.aio.administration import AsyncAdministrationMethods
from taskyard.sdk.aio.functions import AsyncFunctionClient
from taskyard.sdk.aio.logs import AsyncLogMethods


class AsyncClient(AsyncLogMethods, AsyncAdministrationMethods):
    """Talks to one server, on any AnyIO event loop; use it as a context manager or close it.

    Every method raises :class:`~taskyard.sdk.errors.Unreachable` when no answer comes, a
    :class:`~taskyard.sdk.errors.Refused` when the server answers with an error, and
    :class:`~taskyard.sdk.errors.Unreadable` when the answer does not follow the API. What can
    safely be sent twice is, after a connection error; submits carry an idempotency key to that end.
    """

    @property
    def functions(self) -> AsyncFunctionClient:
        """Functions: deploy, call, roll back."""
        return AsyncFunctionClient(self._send, self._send_delete, self._pages, self._send_raw)
