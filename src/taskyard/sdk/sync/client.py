# Made by tools/unasync.py from taskyard/sdk/aio/client.py: change that file instead.
"""The synchronous client."""

from taskyard.sdk.sync.administration import AdministrationMethods
from taskyard.sdk.sync.functions import FunctionClient
from taskyard.sdk.sync.logs import LogMethods


class Client(LogMethods, AdministrationMethods):
    """Talks to one server. May be shared by threads; use it as a context manager or close it.

    Every method raises :class:`~taskyard.sdk.errors.Unreachable` when no answer comes, a
    :class:`~taskyard.sdk.errors.Refused` when the server answers with an error, and
    :class:`~taskyard.sdk.errors.Unreadable` when the answer does not follow the API. What can
    safely be sent twice is, after a connection error; submits carry an idempotency key to that end.
    """

    @property
    def functions(self) -> FunctionClient:
        """Functions: deploy, call, roll back."""
        return FunctionClient(self._send, self._send_delete, self._pages, self._send_raw)
