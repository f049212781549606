"""The OpenAPI description: complete, and true to what the server does."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from native_world import opened

CONFIGURATION = """
# Rules between members (a cron rule that never fires, two starts) are refused with 422, which the
# description announces; it cannot be asked to express them all.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "422"]

# A cursor is opaque: one that was not given out is refused.
[[operations]]
include-operation-id-regex = "^list_"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404"]
"""
EXAMPLES = 5
ENDLESS = ("follow_log", "stream_changes", "wait_for_task", "get_build_log")
"""Operations that answer when something happens, or never."""


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The API served from another thread; answers with its address."""
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(opened(directory)) as world,
    ):
        yield world.url


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that all tests here share."""
    with pytest.MonkeyPatch.context() as patched:
        # Otherwise the many wrong passwords tried here are answered with 429, as they should be.
        patched.setattr("taskyard.services.guessing.FREE_TRIES", 10**9)
        patched.setattr("taskyard.services.guessing.FREE_TRIES_OF_ADDRESS", 10**9)
        with served(tmp_path_factory.mktemp("data")) as url:
            yield url


@pytest.mark.timeout(600)
def test_server_keeps_what_its_description_promises(url: str, tmp_path: Path) -> None:
    """Schemathesis finds nothing: statuses, types, schemas, methods, credentials, bad data."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIGURATION)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={config}",
        "run",
        f"{url}/openapi.json",
        "--header=Authorization: Bearer dev",
        *(f"--exclude-operation-id={name}" for name in ENDLESS),
        "--checks=all",
        "--phases=examples,coverage,fuzzing",
        f"--max-examples={EXAMPLES}",
        "--workers=2",
        "--seed=1",
        "--generation-database=none",
        "--request-timeout=20",
        "--continue-on-failure",
        "--no-color",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=580, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr


def test_every_route_is_described(url: str) -> None:
    """Each operation has a summary, its errors and a unique name."""
    document = httpx.get(f"{url}/openapi.json", trust_env=False).json()
    names = []
    for path, methods in document["paths"].items():
        assert path.startswith("/api/v1/")
        for method, operation in methods.items():
            names.append(operation["operationId"])
            assert operation["summary"].endswith("."), path
            assert operation["tags"], path
            assert {"400", "401", "403", "503"} <= set(operation["responses"]), (method, path)
            assert ("requestBody" in operation) <= ("422" in operation["responses"])
    assert len(names) == len(set(names)) == 58


def test_description_names_the_rules_of_a_task(url: str) -> None:
    """Ranges and patterns are those of the reference page."""
    document = httpx.get(f"{url}/openapi.json", trust_env=False).json()
    task = document["components"]["schemas"]["SubmittedTask"]
    assert task["required"] == []
    assert task["additionalProperties"] is False
    assert task["properties"]["priority"]["minimum"] == -100
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
