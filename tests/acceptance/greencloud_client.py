"""A client of the GreenCloud dialect of a real server."""

import io
import zipfile

import httpx2

from eventually import eventually
from served import Served


def client(served: Served) -> httpx2.Client:
    """A client of the dialect."""
    return httpx2.Client(
        base_url=f"{served.url}/greencloud/v1", headers={"authorization": "dev"}, timeout=60
    )


def deployed(api: httpx2.Client, source: str) -> str:
    """A function with this code."""
    body = {"name": "f", "lang": "PY", "type": "DOCKER"}
    function = str(api.post("/function", json=body).json()["id"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("handler.py", source)
    build = api.post(f"/build/{function}?arch=amd64", content=buffer.getvalue()).json()["id"]
    eventually(lambda: api.get(f"/build/{build}").json()["status"] == "SUCCESS")
    return function
