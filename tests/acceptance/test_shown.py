"""No secret is shown: a marker in every place where one can enter is looked for everywhere else."""

import fnmatch
import os
from collections.abc import Iterator

import pytest
from shown_town import Town
from shown_views import Views

pytestmark = pytest.mark.timeout(300)

_RUN = "what runs has to be kept; the file is its user's alone (test_private_files.py)"
_FASTLANE = "its contract: exactly as submitted (docs/reference/fastlane.md)"
ALLOWED = [
    # Where it was planted, where it is seen, and why it may be.
    ("setting secret_key", "environment of server *", "the operator gave it there"),
    ("greencloud key", "greencloud GET */v1/user", "its contract: the account's own key"),
    ("fastlane command", "fastlane GET *", _FASTLANE),
    ("fastlane metadata", "fastlane GET *", _FASTLANE),
    ("fastlane notify", "fastlane GET *", _FASTLANE),
    ("fastlane webhook url", "fastlane GET *", _FASTLANE),
    ("fastlane webhook header", "fastlane GET *", _FASTLANE),
    *(
        (place, "stored*", _RUN)
        for place in (
            *("name", "label", "metadata", "metadata env", "metadata url", "env", "env url"),
            *("stdin", "argv", "shell user", "shell header", "argv of a failure"),
            *("container argv", "command line env", "webhook path", "webhook query"),
            *("webhook header", "key of a call", "query of a call", "gx command", "gx env"),
            *("gx input", "fastlane command", "fastlane envs", "fastlane deep"),
            *("fastlane metadata", "fastlane notify", "fastlane webhook url"),
            "fastlane webhook header",
        )
    ),
]
"""Passwords, tokens, keys and stored secrets are not in it: they are kept hashed or encrypted. Nor
are, for want of a container engine, Drove's tasks: see test_drove_engines.py."""
MAY_FAIL = ("*/result", "*/tasks/APP/instances/*", "*/stdout", "*/stderr", "*/log", "*/logs")
"""Routes without anything to answer with here."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Town, Views]]:
    """Planted and asked once."""
    town = Town(tmp_path_factory.mktemp("shown"))
    before = dict(os.environ)
    os.environ.update(town.environment)
    try:
        town.served.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    try:
        town.served.await_ready()
        town.plant()
        views = Views(town)
        views.collect()
        town.served.stop()
        views.after()
        yield town, views
    finally:
        town.served.end()
        town.receiver.close()


def found(town: Town) -> list[tuple[str, str]]:
    """Each place of planting with each place where its marker was seen."""
    return [
        (place, where)
        for place, marker in town.marker.by_place.items()
        for where, shown in town.seen.items()
        if marker.encode() in shown
    ]


def test_no_marker_is_shown_where_it_may_not_be(asked: tuple[Town, Views]) -> None:
    """Everything that is not in the table is a leak."""
    leaks = [
        f"{place}: {where}"
        for place, where in found(asked[0])
        if not any(
            fnmatch.fnmatchcase(place, one) and fnmatch.fnmatchcase(where, seen)
            for one, seen, _ in ALLOWED
        )
    ]
    assert not leaks, "\n".join(leaks)


def test_the_table_says_what_is_so(asked: tuple[Town, Views]) -> None:
    """Each of its lines is needed: what it allows is seen."""
    seen = found(asked[0])
    idle = [
        line
        for line in ALLOWED
        if not any(
            fnmatch.fnmatchcase(place, line[0]) and fnmatch.fnmatchcase(where, line[1])
            for place, where in seen
        )
    ]
    assert idle == []


def test_every_route_was_asked(asked: tuple[Town, Views]) -> None:
    """And answered, at least once: an error shows nothing, and proves nothing."""
    failed = [
        path
        for path, has_answered in asked[1].answered.items()
        if not has_answered and not any(fnmatch.fnmatchcase(path, one) for one in MAY_FAIL)
    ]
    assert failed == []
    assert len(asked[1].answered) > 60
    assert {b'"type":"task.' in body for body in asked[0].receiver.bodies} == {True}
