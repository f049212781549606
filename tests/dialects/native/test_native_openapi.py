"""The OpenAPI description: complete, and true to what the server does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
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
TABLES = Path(__file__).parents[3] / ".hypothesis"
"""Where Hypothesis keeps its tables of all characters, which take seconds to make."""
EXAMPLES = 3
PARTS = 2
"""In so many tests, which run side by side."""
ENDLESS = ("follow_log", "stream_changes", "wait_for_task", "get_build_log")
"""Operations that answer when something happens, or never."""


def operations(url: str) -> set[str]:
    """The names of all there are."""
    document = httpx2.get(f"{url}/openapi.json", trust_env=False).json()
    return {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    }


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
        patched.setattr("taskyard.services.access.login_throttle.FREE_TRIES", 10**9)
        patched.setattr("taskyard.services.access.login_throttle.FREE_TRIES_OF_SHARED", 10**9)
        patched.setattr("taskyard.services.access.login_throttle.FREE_TRIES_OF_ADDRESS", 10**9)
        patched.setattr("taskyard.services.access.login_throttle.FREE_TOKENS_OF_ADDRESS", 10**9)
        patched.setattr("taskyard.services.access.login_throttle.FREE_TOKENS_OF_ADDRESS", 10**9)
        with served(tmp_path_factory.mktemp("data")) as url:
            yield url


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_server_keeps_what_its_description_promises(url: str, tmp_path: Path, part: int) -> None:
    """Schemathesis finds nothing: statuses, types, schemas, methods, credentials, bad data."""
    names = sorted(operations(url) - set(ENDLESS))
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIGURATION)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={config}",
        "run",
        f"{url}/openapi.json",
        "--header=Authorization: Bearer dev",
        *(f"--include-operation-id={name}" for name in names[part::PARTS]),
        "--checks=all",
        "--phases=examples,coverage,fuzzing",
        f"--max-examples={EXAMPLES}",
        # More would parse Python in several threads, which fails now and then before CPython 3.11.8
        # (gh-106905).
        "--workers=1",
        "--seed=1",
        "--generation-database=none",
        "--request-timeout=20",
        "--continue-on-failure",
        "--no-color",
    ]
    environment = os.environ | {"HYPOTHESIS_STORAGE_DIRECTORY": str(TABLES)}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr


def test_every_route_is_described(url: str) -> None:
    """Each operation has a summary, its errors and a unique name."""
    document = httpx2.get(f"{url}/openapi.json", trust_env=False).json()
    names = []
    for path, methods in document["paths"].items():
        assert path.startswith("/api/v1/")
        for method, operation in methods.items():
            names.append(operation["operationId"])
            assert operation["summary"].endswith("."), path
            assert operation["tags"], path
            assert {"400", "401", "403", "503"} <= set(operation["responses"]), (method, path)
            assert ("requestBody" in operation) <= ("422" in operation["responses"])
    assert len(names) == len(set(names)) == 68


def test_description_names_the_rules_of_a_task(url: str) -> None:
    """Ranges and patterns are those of the reference page."""
    document = httpx2.get(f"{url}/openapi.json", trust_env=False).json()
    task = document["components"]["schemas"]["SubmittedTask"]
    assert task["required"] == []
    assert task["additionalProperties"] is False
    assert task["properties"]["priority"]["minimum"] == -100
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
