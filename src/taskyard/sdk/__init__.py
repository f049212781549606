"""The Python client of Taskyard's native API.

It knows the HTTP contract and nothing else of Taskyard::

    from taskyard.sdk import Client

    with Client("http://127.0.0.1:8000", token="dev") as client:
        task = client.submit(["make", "report"], group="reports", timeout_s=600)
        for record in client.follow(task.id):
            ...
        print(client.wait(task.id).state)
"""

from typing import TYPE_CHECKING, Any

from taskyard.sdk.client_models import Output
from taskyard.sdk.errors import TaskyardError
from taskyard.sdk.models import Exit, Task
from taskyard.sdk.sync.client import Client

if TYPE_CHECKING:
    from taskyard.sdk.aio.client import AsyncClient

__all__ = ["AsyncClient", "Client", "Exit", "Output", "Task", "TaskyardError"]


def __getattr__(name: str) -> Any:
    """Load the asynchronous client on first use: short programs do without asyncio."""
    if name == "AsyncClient":
        from taskyard.sdk.aio.client import AsyncClient  # noqa: PLC0415 - see above

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
