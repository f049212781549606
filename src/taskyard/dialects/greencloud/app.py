"""The dialect as an application: all its routes."""

from typing import Final

from litestar.types import ASGIApp

from taskyard.dialects.greencloud import (
    routes_auth,
    routes_builds,
    routes_endpoints,
    routes_functions,
    routes_public,
    routes_schedules,
    routes_tags,
    routes_tasks,
    routes_triggers,
)
from taskyard.dialects.greencloud.auth import SignIn
from taskyard.dialects.greencloud.dialect import Call, GreenCloud
from taskyard.dialects.greencloud.settings import GreenCloudSettings
from taskyard.dialects.http.application import application
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.routes import Route

ROUTES: Final = (
    *routes_auth.routes,
    *routes_tasks.routes,
    *routes_functions.routes,
    *routes_builds.routes,
    *routes_endpoints.routes,
    *routes_triggers.routes,
    *routes_schedules.routes,
    *routes_tags.routes,
    *routes_public.routes,
)


def greencloud_app(
    context: DialectContext, settings: GreenCloudSettings, prefix: str, sign_in: SignIn
) -> ASGIApp:
    """The application below a prefix that was taken off its paths."""
    settings = settings.with_dev() if context.dev else settings
    dialect = GreenCloud(context, settings, prefix, sign_in)
    return application(dialect, [*ROUTES, *_beside_lists()])


def _beside_lists() -> list[Route[Call, bool]]:
    """For a path that ends in ``list``: what the other methods mean is an object of that id."""
    lists = {one.path.removesuffix("list") for one in ROUTES if one.path.endswith("/list")}
    return [
        Route(one.methods, one.path.replace("{id}", "list"), one.handler, one.access)
        for one in ROUTES
        if one.path.endswith("/{id}")
        and one.methods != ("GET",)
        and one.path.removesuffix("{id}") in lists
    ]
