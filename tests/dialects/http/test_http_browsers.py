"""The steps that decide whether a page may send what it sends."""

from typing import Any

import pytest

from taskyard.dialects.http.browsers import BrowserGuard, BrowserRules
from taskyard.dialects.http.origins import AllowedHosts, Origin
from taskyard.dialects.http.requests import LOCAL_KEY

OWN = {"host": "yard.example:8000", "origin": "http://yard.example:8000"}
EVIL = {"host": "yard.example:8000", "origin": "https://evil.test"}
FORM = {"content-type": "text/plain"}
BEARER = {"authorization": "Bearer x"}
BASIC = {"authorization": "BASIC eDp4"}
NATIVE = BrowserRules(token_in_query=b"access_token")
GX = BrowserRules(token_in_query=b"api_key")
FASTLANE = BrowserRules(asks_first=True, origins=frozenset({Origin("https", "app.test", 443)}))
GREENCLOUD = BrowserRules(is_public=lambda path: path.startswith("/gc/"))
DROVE = BrowserRules()


def status(
    headers: dict[str, str],
    method: str | None = "POST",
    rules: BrowserRules = NATIVE,
    *,
    dev: bool = False,
    path: str = "/tasks",
    query: bytes = b"",
    **scope: Any,
) -> int | None:
    """How a request is refused; None if it is let through. No method: a WebSocket."""
    browsers = BrowserGuard(
        AllowedHosts(["yard.example"]), frozenset({Origin("http", "friend.test", 3000)}), dev=dev
    )
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    made: Any = {"headers": pairs, "state": {}, "path": path, "query_string": query, **scope}
    if method is not None:
        made["method"] = method
    refusal = browsers.refusal(made, rules)
    return None if refusal is None else refusal.status


@pytest.mark.parametrize("dev", [False, True])
@pytest.mark.parametrize("rules", [NATIVE, GX, FASTLANE, GREENCLOUD, DROVE])
def test_programs_and_own_pages_are_let_through(rules: BrowserRules, dev: bool) -> None:
    """What names no page, and what the server's own pages send."""
    fetched = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    for headers in ({"host": "127.0.0.1"}, OWN, OWN | fetched, OWN | FORM | BASIC):
        for method in ("GET", "POST", "DELETE", None):
            assert status(headers, method, rules, dev=dev) is None


@pytest.mark.parametrize("rules", [NATIVE, GX, FASTLANE, GREENCLOUD, DROVE])
@pytest.mark.parametrize(
    "page",
    [
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {"origin": "http://yard.example:8001"},
        {"origin": "http://localhost:8000"},
        {"origin": "https://yard.example:8000.evil.test"},
        {"origin": "file://"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://yard.example:8000", "sec-fetch-site": "cross-site"},
        {"origin": "https://evil.test", "sec-fetch-site": "same-origin"},
    ],
)
def test_well_known_credentials_are_of_no_use_to_pages_of_others(
    rules: BrowserRules, page: dict[str, str]
) -> None:
    """Under ``--dev``, in every dialect and by every method, whatever comes along."""
    for more in ({}, FORM, {"content-type": "application/json"}, BEARER, BASIC):
        headers = {"host": "yard.example:8000", **page, **more}
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "DEL", None):
            query = b"api_key=dev&access_token=dev"
            assert status(headers, method, rules, dev=True, query=query) == 403


def test_links_to_the_dashboard_work_under_dev() -> None:
    """A navigation of the whole window; no frame, no form, no fetch."""
    link = {
        "host": "localhost",
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    assert status(link, "GET", dev=True) is None
    assert status(link, "POST", dev=True) == 403
    assert status(link | {"sec-fetch-dest": "iframe"}, "GET", dev=True) == 403
    assert status(link | {"sec-fetch-mode": "no-cors"}, "GET", dev=True) == 403


@pytest.mark.parametrize("rules", [NATIVE, GX, FASTLANE, GREENCLOUD, DROVE])
def test_what_browsers_send_without_asking_is_refused(rules: BrowserRules) -> None:
    """Forms, beacons without a type, and WebSockets, with a remembered password or with nothing."""
    for credential in ({}, BASIC, {"authorization": "Negotiate x"}):
        for kind in (
            None,
            "text/plain",
            "Text/Plain;charset=UTF-8",
            "text/plain; application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ):
            headers = EVIL | credential | ({} if kind is None else {"content-type": kind})
            assert status(headers, "POST", rules) == 403
        assert status(EVIL | credential, None, rules) == 403
        assert status(EVIL | credential, "GET", rules) is None


def test_credentials_that_pages_must_know_let_them_in() -> None:
    """A token in the header, an API key or an access token in the query; not one beside a
    remembered password, which would be taken first.
    """
    assert status(EVIL | FORM | BEARER) is None
    assert status(EVIL | FORM | {"authorization": "gc-key"}, rules=GREENCLOUD) is None
    assert status(EVIL | FORM, rules=GX, query=b"workspace_id=a&api_key=k") is None
    assert status(EVIL, None, GX, query=b"api_key=k") is None
    assert status(EVIL, None, query=b"access_token=k") is None
    assert status(EVIL | BASIC, None, query=b"access_token=k") == 403
    assert status(EVIL | FORM, rules=FASTLANE, query=b"access_token=k&api_key=k") == 403


def test_preflights_decide_where_the_dialect_answers_them() -> None:
    """What browsers ask for first is let through there, and nowhere else."""
    json = {"content-type": "application/json"}
    for headers, method in ((EVIL | json, "POST"), (EVIL, "PUT"), (EVIL, "DELETE")):
        assert status(headers, method, FASTLANE) is None
        assert status(headers, method, NATIVE) == 403
        assert status(headers | BASIC, method, DROVE) == 403
    assert status(EVIL, "OPTIONS", NATIVE) is None


def test_allowed_origins_may_do_everything() -> None:
    """The server's setting means every dialect, a dialect's own that one; also under ``--dev``."""
    friend = {"host": "yard.example", "origin": "http://friend.test:3000"}
    app = {"host": "yard.example", "origin": "https://app.test"}
    for dev in (False, True):
        assert status(friend | FORM | BASIC, dev=dev) is None
        assert status(friend, None, GX, dev=dev) is None
        assert status(app | FORM, rules=FASTLANE, dev=dev) is None
        assert status(app | FORM, rules=DROVE, dev=dev) == 403


def test_public_routes_are_for_everybody() -> None:
    """Any page, any type, also under ``--dev``; but not by another host's name."""
    for dev in (False, True):
        assert status(EVIL | FORM, rules=GREENCLOUD, path="/gc/x", dev=dev) is None
        rebound = EVIL | {"host": "evil.test"}
        assert status(rebound, rules=GREENCLOUD, path="/gc/x", dev=dev) == 421


def test_pages_behind_a_proxy_are_the_servers_own() -> None:
    """A proxy that keeps the host, and one that renames it, as far as browsers tell."""
    kept = {"host": "yard.example", "origin": "https://yard.example"}
    assert status(kept | FORM | BASIC) is None
    renamed = {"host": "127.0.0.1:8000", "origin": "https://yard.example"}
    assert status(renamed | BASIC | {"sec-fetch-site": "same-origin"}) is None
    assert status(renamed | BASIC) == 403


def test_hosts_are_checked_first() -> None:
    """Another name 421, none or two of them or nonsense 400; HTTP/1.0 has none."""
    assert status({"host": "evil.test"}, "GET") == 421
    assert status({"host": "evil.test"}, None) == 421
    assert status({"host": 'a"><script>'}, "GET") == 400
    assert status({}, "GET") == 400
    assert status({}, "GET", http_version="1.0") is None
    two: Any = {
        "headers": [(b"host", b"yard.example"), (b"host", b"yard.example")],
        "state": {},
        "method": "GET",
    }
    refusal = BrowserGuard(AllowedHosts(["yard.example"])).refusal(two, NATIVE)
    assert refusal is not None
    assert refusal.status == 400


def test_refusals_name_the_setting() -> None:
    """In a sentence, as a problem document that no browser takes for a page."""
    browsers = BrowserGuard(AllowedHosts([]), dev=True)
    for host, origin, setting in (
        (b"evil.test", b"http://evil.test", b"allowed_hosts"),
        (b"localhost", b"http://<script>.test", b"allowed_origins"),
    ):
        scope: Any = {"headers": [(b"host", host), (b"origin", origin)], "state": {}}
        refusal = browsers.refusal(scope, NATIVE)
        assert refusal is not None
        assert setting in refusal.body
        assert (b"x-content-type-options", b"nosniff") in refusal.headers


def test_control_socket_is_not_the_browsers() -> None:
    """Whatever its callers say."""
    browsers = BrowserGuard(AllowedHosts([]), dev=True)
    scope: Any = {"headers": [(b"origin", b"x")], "state": {LOCAL_KEY: True}}
    assert browsers.refusal(scope, NATIVE) is None
