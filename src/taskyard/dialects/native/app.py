"""The dialect as an application: all its routes."""

from typing import Any, Final

from litestar.types import ASGIApp

from taskyard.dialects.http.application import application
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.native import (
    routes_access,
    routes_functions,
    routes_groups,
    routes_jobs,
    routes_live,
    routes_logs,
    routes_tasks,
    routes_webhooks,
    routes_worker_tokens,
    routes_workers,
)
from taskyard.dialects.native.dialect import Call, Description, Native

SECTIONS: Final[tuple[tuple[str, Routes[Call[Any, Any], Description]], ...]] = (
    ("Tasks", routes_tasks.routes),
    ("Logs", routes_logs.routes),
    ("Live changes", routes_live.routes),
    ("Groups", routes_groups.routes),
    ("Workspace", routes_groups.workspace_routes),
    ("Jobs", routes_jobs.routes),
    ("Webhooks", routes_webhooks.routes),
    ("Functions", routes_functions.routes),
    ("Functions", routes_functions.result_routes),
    ("Access", routes_access.routes),
    ("Access", routes_worker_tokens.routes),
    ("The rest", routes_workers.routes),
)
"""The routes by their title in the OpenAPI document."""


def native_app(dialect: Native, otherwise: ASGIApp | None = None) -> ASGIApp:
    """The application; it sees whole paths, and hands those of others to ``otherwise``."""
    routes = [one for _, some in SECTIONS for one in some]
    return application(dialect, routes, base=dialect.prefix, otherwise=otherwise)
