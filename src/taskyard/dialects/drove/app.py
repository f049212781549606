"""The dialect as an application: routes below ``/apis/v1``, and addresses for people.

The page of a task, where a search leads to, goes on to what the API says of it; the root names the
API. Neither asks for a credential.
"""

from urllib.parse import quote

from litestar.types import ASGIApp

from taskyard.dialects.drove import routes_cluster, routes_logs, routes_tasks
from taskyard.dialects.drove.auth import PUBLIC
from taskyard.dialects.drove.cluster import Cluster
from taskyard.dialects.drove.dialect import BASE, Call, Drove, Roles
from taskyard.dialects.drove.settings import DroveSettings
from taskyard.dialects.http.answers import TEXT, Answer
from taskyard.dialects.http.application import application
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.routes import Routes

pages = Routes[Call, Roles](PUBLIC)


def drove_app(
    context: DialectContext, settings: DroveSettings, prefix: str, cluster: Cluster | None = None
) -> ASGIApp:
    """The application; it sees paths without ``prefix``.

    ``cluster`` is what it shares with other applications on the same engine; its own when None.
    """
    shared = Cluster(context, settings) if cluster is None else cluster
    routes = [*routes_tasks.routes, *routes_logs.routes, *routes_cluster.routes, *pages]
    return application(Drove(shared, prefix), routes)


@pages.get("/tasks/{app}/{name}")
async def task_page(call: Call) -> Answer:
    """Goes on to the task in the API."""
    app, name = (quote(call.path(part), safe="") for part in ("app", "name"))
    location = f"{call.dialect.prefix}{BASE}/tasks/{app}/instances/{name}"
    return Answer(303, b"", ((b"location", location.encode("ascii")),))


@pages.get("/")
async def root(call: Call) -> Answer:
    """Says where the API is."""
    text = f"Taskyard {call.context.version} speaks the task API of Drove at "
    return Answer(200, f"{text}{call.dialect.prefix}{BASE}\n".encode(), (TEXT,))
