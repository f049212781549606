"""What all tests share: the fakes, how hard Hypothesis tries, tools by marker, what comes first."""

import gc
import os
import shutil
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

import postgres
from leftovers import remove_leftovers, short_directory

# No deadline: machines that run tests are shared, and a slow example is not a wrong one.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")

for _number in (signal.SIGINT, signal.SIGQUIT):
    # A shell without job control has what it starts in the background ignore these, and whatever
    # that starts: programs that tests interrupt would go on forever.
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(
            _number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL
        )

TOOLS = {
    "curl": ("curl",),
    "golang": ("go",),
    "java": ("java", "javac"),
    "pgbouncer": ("pgbouncer",),
    "ruby": ("ruby", "bundle"),
}
"""Programs that tests with a marker need."""


@pytest.fixture(autouse=True)
def _needs_root(request: pytest.FixtureRequest) -> None:
    """Only root can become other users."""
    if request.node.get_closest_marker("root") is not None and os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "continuous integration needs root rights"
        pytest.skip("needs root rights")


@pytest.fixture(autouse=True)
def _needs_tools(request: pytest.FixtureRequest) -> None:
    for marker in request.node.iter_markers():
        for tool in TOOLS.get(marker.name, ()):
            if shutil.which(tool) is None:
                assert os.environ.get("CI") != "true", f"continuous integration needs {tool}"
                pytest.skip(f"there is no {tool} here")


@pytest.fixture
def common_path() -> Iterator[Path]:
    """A directory in which work of any user can read and write, unlike in ``tmp_path``."""
    with short_directory("taskyard-") as place:
        place.chmod(0o777)
        yield place


@pytest.fixture(scope="session", autouse=True)
def _leave_nothing_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After the last test, remove what killed servers of this session left on the machine."""
    yield
    remove_leftovers(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session", autouse=True)
def _postgres_of_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """All processes of a run share one server, which starts when it is first asked for."""
    place = tmp_path_factory.getbasetemp()
    is_worker = hasattr(request.config, "workerinput")
    postgres.begin(place.parent if is_worker else place)
    yield
    postgres.end()


@pytest.fixture(autouse=True)
def _drop_databases() -> Iterator[None]:
    """Databases of a test end with it."""
    yield
    postgres.drop_databases()


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Nothing that is made meanwhile is garbage; nor is it ever, so that it is not looked at again.

    Each process of a run collects all tests, and has their modules: a million objects.
    """
    del session
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """The order is ours: pytest-xdist would have groups of many tests before the longest one."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that share something of their module are run by one worker: each would make its own.

    Those that are long are not, as they are run side by side.
    """
    if item.get_closest_marker("xdist_group") or item.get_closest_marker("long"):
        return
    if isinstance(item, pytest.Function):
        for name, found in item._fixtureinfo.name2fixturedefs.items():
            if not name.startswith("_") and found[-1].scope == "module":
                item.add_marker(pytest.mark.xdist_group(item.path.stem))
                item.stash[_SHARES] = True
                return


_SHARES: Final = pytest.StashKey[bool]()
"""Whether a test is grouped because of what it shares with others of its module."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start the longest first: at the end no worker waits for another one that has just begun.

    Groups by what they need come before single tests that are long, those before modules, and then
    whatever is left. Tests on container engines are in groups by engine, and by whether a server is
    served: so each engine is started once, and other tests have the processor while these wait.
    """
    sizes = Counter(_group(item) for item in items)
    items.sort(key=lambda item: (_turn(item), -sizes[_group(item)]))
    if config.getoption("loadgroup", default=False):
        grouped = [item for item in items if item.get_closest_marker("xdist_group")]
        if not all("@" in item.nodeid for item in grouped):
            raise pytest.UsageError(
                "this pytest-xdist does not group tests with this pytest: have those of"
                " requirements-dev.txt"
            )


def _group(item: pytest.Item) -> str:
    """What a test is run together with: as pytest-xdist names it, or itself."""
    names = {str(mark.args[0]) for mark in item.iter_markers("xdist_group")}
    return "_".join(sorted(names)) or item.nodeid


def _turn(item: pytest.Item) -> int:
    if item.stash.get(_SHARES, False):
        return 2
    if item.get_closest_marker("xdist_group"):
        return 0
    return 1 if item.get_closest_marker("long") else 3
