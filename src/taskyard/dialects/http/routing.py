"""What an application's router knows."""

from typing import Final

from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.utils import normalize_path

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def allowed_methods(app: Litestar, path: str) -> list[str]:
    """What can be asked for at a path; nothing where no route is."""
    allowed = []
    for method in METHODS:
        try:
            app.asgi_router.handle_routing(path=normalize_path(path), method=method)
        except HTTPException:
            continue
        allowed.append(method)
    return allowed and [*allowed, "OPTIONS"]
