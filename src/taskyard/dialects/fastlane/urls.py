"""Absolute URLs in answers, by the host of the request or the operator's ``server_name``."""

from urllib.parse import quote

from litestar.types import Scope
from msgspec import Struct

from taskyard.dialects.http.requests import header_of


class Urls(Struct, frozen=True):
    """Makes the URLs of one answer. Those of members end in a slash, those asked for do not."""

    base: str
    """Scheme, host and mount prefix, without a final slash."""

    def task(self, task_id: str) -> str:
        """Without a final slash."""
        return f"{self.base}/tasks/{quote(task_id, safe='')}"

    def job(self, task_id: str, job_id: str) -> str:
        """Without a final slash."""
        return f"{self.task(task_id)}/jobs/{job_id}"

    def execution(self, task_id: str, job_id: str, execution_id: str) -> str:
        """With a final slash."""
        return f"{self.job(task_id, job_id)}/executions/{execution_id}/"


def urls_of(scope: Scope, prefix: str, server_name: str | None) -> Urls:
    """From the request's scheme and ``Host``; ``server_name`` takes the place of the latter."""
    host = server_name or header_of(scope, b"host")
    if not host:
        server = scope.get("server")
        host = f"{server[0]}:{server[1]}" if server else "localhost"
    return Urls(f"{scope['scheme']}://{host}{prefix}")
