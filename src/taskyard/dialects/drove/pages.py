"""Where a search leads to: addresses for people, which have no page of their own here.

The page of a task goes on to what the API says of it; the root names the API.
"""

from typing import Any
from urllib.parse import quote

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from taskyard.dialects.drove.cluster import Cluster
from taskyard.dialects.drove.requests import text_in_path
from taskyard.dialects.http.answers import Answer

_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class Pages:
    """The handlers; nothing they say needs a credential."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self._version = cluster.host.version
        self._prefix = prefix

    def handlers(self) -> list[HTTPRouteHandler]:
        """All of them."""
        read: list[Any] = ["GET", "HEAD"]
        task = HTTPRouteHandler("/tasks/{app:str}/{name:str}", http_method=read, status_code=303)
        return [task(self._task()), HTTPRouteHandler("/", http_method=read)(self._root())]

    def _task(self) -> Any:
        prefix = self._prefix

        async def task(request: Request[Any, Any, Any]) -> Answer:
            app, name = (quote(text_in_path(request, part), safe="") for part in ("app", "name"))
            location = f"{prefix}/apis/v1/tasks/{app}/instances/{name}"
            return Answer(303, b"", ((b"location", location.encode("ascii")),))

        return task

    def _root(self) -> Any:
        text = f"Taskyard {self._version} speaks the task API of Drove at {self._prefix}/apis/v1\n"

        async def root() -> Answer:
            return Answer(200, text.encode(), (_TEXT,))

        return root
