"""What every route shares: slashes, errors, methods, compression, origins, credentials."""

import gzip
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastlane_world import FastlaneWorld, opened
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.anyio

UNKNOWN = uuid4()


async def test_every_route_answers_with_and_without_slash(world: FastlaneWorld) -> None:
    """Directly, for every method it has, below the prefix and at the root alike."""
    enqueued = await world.enqueue()
    await world.execution(enqueued)
    job = f"/tasks/mail/jobs/{enqueued['jobId']}"
    execution = f"{job}/executions/{enqueued['executionId']}"
    gets = ["/healthcheck", "/status", "/tasks", "/search", "/tasks/mail", job, execution]
    gets += [f"{at}/{kind}" for at in (job, execution) for kind in ("stdout", "stderr", "logs")]
    gets += [f"{at}/stream" for at in (job, execution)]
    for path in gets:
        for base in (world.url, world.main_url + "/fastlane"):
            plain = await world.api.get(base + path, params={"query": "mail"})
            slashed = await world.api.get(base + path + "/", params={"query": "mail"})
            assert plain.status_code == slashed.status_code == 200, path
            head = await world.api.head(base + path + "/", params={"query": "mail"})
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == plain.headers["content-type"]
            options = await world.api.options(base + path)
            assert options.status_code == 200
            assert {"GET", "HEAD", "OPTIONS"} <= set(options.headers["allow"].split(", "))
    assert (await world.api.get("/")).json() == {"redis": True, "mongo": True, "errors": []}
    assert (await world.api.get(world.main_url + "/fastlane")).status_code == 200
    for path in (f"{job}/stop", f"{job}/retry", f"{execution}/stop"):
        for slash in ("", "/"):
            assert (await world.api.post(path + slash)).status_code == 200, path
    body = {"image": "x", "command": "echo"}
    assert (await world.api.post("/tasks/mail/", json=body)).status_code == 200
    assert (await world.api.put(job + "/", json=body)).status_code == 200


async def test_unknown_ids_are_told_apart(world: FastlaneWorld) -> None:
    """Status and operation of each route."""
    enqueued = await world.enqueue()
    await world.execution(enqueued)
    job = f"/tasks/mail/jobs/{enqueued['jobId']}"
    cases = [("GET", "/tasks/none", 404, "get_task")]
    for base in (
        f"/tasks/none/jobs/{UNKNOWN}",
        f"/tasks/mail/jobs/{UNKNOWN}",
        "/tasks/mail/jobs/x",
    ):
        cases += [
            ("GET", base, 404, "get_task"),
            ("POST", f"{base}/stop", 404, "stop_job"),
            ("POST", f"{base}/retry", 404, "retry_job"),
            ("GET", f"{base}/stdout", 404, "retrieve_execution_details"),
            ("GET", f"{base}/executions/{UNKNOWN}", 404, "get_job_execution"),
            ("POST", f"{base}/executions/{UNKNOWN}/stop", 404, "stop_job_execution"),
            ("GET", f"{base}/executions/{UNKNOWN}/logs", 404, "retrieve_execution_details"),
        ]
    cases += [
        ("GET", f"{job}/executions/{UNKNOWN}", 404, "get_job_execution"),
        ("POST", f"{job}/executions/{UNKNOWN}/stop", 404, "stop_job_execution"),
        ("GET", f"{job}/executions/{UNKNOWN}/stderr", 400, "retrieve_execution_details"),
        ("GET", "/search", 400, "search_tasks"),
        ("GET", "/search?query=", 400, "search_tasks"),
        ("GET", "/search?query=&page=x", 400, "search_tasks"),
        ("GET", "/search?query=a&page=x", 400, "get_tasks"),
        ("GET", "/tasks?page=0", 400, "get_tasks"),
        ("GET", "/tasks?page=", 400, "get_tasks"),
        ("GET", "/tasks?page=-1", 400, "get_tasks"),
        ("GET", "/tasks?page=1.5", 400, "get_tasks"),
    ]
    for method, path, status, operation in cases:
        answer = await world.api.request(method, path)
        assert answer.status_code == status, (method, path, answer.text)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["operation"] == operation, path
        assert answer.json()["error"]


async def test_what_is_not_there_is_a_small_page(world: FastlaneWorld) -> None:
    """404 and 405 with Allow, also for methods nobody knows."""
    job = f"/tasks/mail/jobs/{UNKNOWN}"
    for path in ("/nope", "/tasks/a/b", "/routes", f"{job}/ws", f"{job}/ws/", "/tasks?page=2"):
        answer = await world.api.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert (await world.api.options("/nope")).status_code == 404
    assert (await world.api.request("TRACE", "/nope")).status_code == 404
    for method, path, allow in (
        ("POST", "/tasks", "GET, HEAD, OPTIONS"),
        ("DELETE", "/tasks/mail", "GET, HEAD, POST, OPTIONS"),
        ("GET", f"{job}/stop", "POST, OPTIONS"),
        ("TRACE", "/tasks", "GET, HEAD, OPTIONS"),
        ("GET", "/docker-executor/blacklist", "POST, PUT, DELETE, OPTIONS"),
    ):
        answer = await world.api.request(method, path)
        assert answer.status_code == 405, path
        assert answer.headers["allow"] == allow


async def test_good_json_is_compressed_and_nothing_else(world: FastlaneWorld) -> None:
    """Only for those who say they can read it."""
    packed = await world.api.get("/tasks", headers={"accept-encoding": "br, gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert packed.json()["items"] == []
    async with world.api.stream("GET", "/tasks", headers={"accept-encoding": "gzip"}) as raw:
        body = b"".join([part async for part in raw.aiter_raw()])
    assert json.loads(gzip.decompress(body))["total"] == 0
    for path, accept in (("/tasks", "identity"), ("/tasks/none", "gzip"), ("/nope", "gzip")):
        answer = await world.api.get(path, headers={"accept-encoding": accept})
        assert "content-encoding" not in answer.headers, path


async def test_keys_are_sorted(world: FastlaneWorld) -> None:
    """In all depths."""
    enqueued = await world.enqueue(metadata={"z": 1, "a": {"y": 1, "b": 2}})
    answer = await world.api.get(f"/tasks/mail/jobs/{enqueued['jobId']}")
    assert answer.text == json.dumps(
        answer.json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


async def test_origins_are_echoed(world: FastlaneWorld) -> None:
    """A star without one; preflights name methods and headers."""
    assert (await world.api.get("/tasks")).headers["access-control-allow-origin"] == "*"
    answer = await world.api.get("/nope", headers={"origin": "http://a"})
    assert answer.headers["access-control-allow-origin"] == "http://a"
    assert "Origin" in answer.headers["vary"]
    answer = await world.api.options(
        "/tasks/mail",
        headers={
            "origin": "http://a",
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-one, x-two",
        },
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-methods"] == (
        "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
    )
    assert answer.headers["access-control-allow-headers"] == "x-one, x-two"


async def test_origins_can_be_limited_or_left_out(tmp_path: Path) -> None:
    """Others get no such header."""
    async with opened(tmp_path / "a", cors_origins=["http://a"]) as world:
        for origin, wanted in (("http://a", "http://a"), ("http://b", None)):
            answer = await world.api.get("/tasks", headers={"origin": origin})
            assert answer.headers.get("access-control-allow-origin") == wanted
    async with opened(tmp_path / "b", cors=False) as world:
        answer = await world.api.get("/tasks", headers={"origin": "http://a"})
        assert "access-control-allow-origin" not in answer.headers


async def test_credentials_are_asked_of_everything_but_preflights(tmp_path: Path) -> None:
    """401 with an empty body and the realm, on unknown routes, health and sockets too."""
    options: dict[str, Any] = {
        "basic_auth_username": "ana",
        "basic_auth_password": "s:ecret",
        "basic_auth_realm": "The yard",
    }
    async with opened(tmp_path, **options) as world:
        job = f"/tasks/mail/jobs/{UNKNOWN}"
        for path in ("/", "/healthcheck", "/nope", "/tasks", job):
            for auth in (None, ("ana", "wrong"), ("other", "s:ecret")):
                answer = await world.api.get(path, auth=auth)
                assert (answer.status_code, answer.content) == (401, b"")
                assert answer.headers["www-authenticate"] == 'Basic realm="The yard"'
        for header in (b"Bearer x", b"Basic", b"Basic !!!", "Basic \u00e4".encode()):
            answer = await world.api.get("/tasks", headers=[(b"authorization", header)])
            assert answer.status_code == 401
        assert (await world.api.get("/tasks", auth=("ana", "s:ecret"))).status_code == 200
        preflight = {"origin": "http://a", "access-control-request-method": "PUT"}
        assert (await world.api.options(job, headers=preflight)).status_code == 200
        assert (await world.api.options(job)).status_code == 401
        for path in (job, "/nope"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(world.url.replace("http", "ws") + f"{path}/ws", proxy=None)
            assert refused.value.response.status_code == 401


async def test_nobody_comes_in_unless_the_operator_said_so(tmp_path: Path) -> None:
    """Without ``dev``, credentials or ``anonymous``, everything is 401."""
    async with opened(tmp_path / "a", dev=False) as world:
        assert (await world.api.get("/tasks")).status_code == 401
        answer = await world.api.get(world.main_url + "/fastlane/tasks", auth=("admin", "admin"))
        assert answer.status_code == 401
    async with opened(tmp_path / "b", dev=False, anonymous=True) as world:
        assert (await world.api.get("/tasks")).status_code == 200


async def test_urls_follow_the_request_or_the_setting(tmp_path: Path) -> None:
    """Host as asked for, with the mount prefix; or the configured name."""
    body = {"image": "x", "command": "echo"}
    async with opened(tmp_path / "a") as world:
        answer = await world.api.post(
            world.main_url + "/fastlane/tasks/t", json=body, headers={"host": "yard.example:8"}
        )
        assert answer.json()["taskUrl"] == "http://yard.example:8/fastlane/tasks/t"
    async with opened(tmp_path / "b", server_name="name.example") as world:
        answer = await world.api.post("/tasks/t", json=body)
        assert answer.json()["taskUrl"] == "http://name.example/tasks/t"


async def test_routes_are_listed_in_debug_mode(tmp_path: Path) -> None:
    """Each with its methods."""
    async with opened(tmp_path, debug=True) as world:
        listed = (await world.api.get("/routes/")).json()
    assert {"endpoint": "/tasks", "methods": ["GET"], "doc": "``GET /tasks``."} in listed


async def test_hosts_are_taken_out_of_rotation(world: FastlaneWorld) -> None:
    """By every method that puts them there or back; empty answers, also for unknown hosts."""
    host = {"host": "docker.example:2375"}
    path = "/docker-executor/blacklist"
    for method, slash, drained in (
        ("POST", "", True),
        ("POST", "/", True),
        ("DELETE", "", False),
        ("PUT", "/", True),
        ("DEL", "/", False),
    ):
        answer = await world.api.request(method, path + slash, json=host)
        assert (answer.status_code, answer.content) == (200, b""), method
        (here,) = [record for record, _ in world.wired.engine.workers.present()]
        assert here.draining is drained
    answer = await world.api.post(path, json={"host": "never.heard.of:1"})
    assert (answer.status_code, answer.content) == (200, b"")
    bad: list[bytes] = [b"", b"{", b"{}", b"[]", b'{"host": 5}']
    names = ("plain", "a:b", "a/b:2375", "http://a:1", "a:1/x", "", ":1", "a:", "a b:1")
    bad += [json.dumps({"host": one}).encode() for one in names]
    for body in bad:
        for method in ("POST", "PUT", "DELETE", "DEL"):
            answer = await world.api.request(method, path, content=body)
            assert answer.status_code == 400, body
            assert answer.headers["content-type"].startswith("text/plain")


async def test_status_tells_what_there_is(world: FastlaneWorld) -> None:
    """Hosts, containers, queues and counts."""
    await world.execution(await world.enqueue("hang"), "running")
    await world.enqueue(startIn="1h")
    found = (await world.api.get("/status/")).json()
    assert found["fastlane"]["version"] == "2.2.4"
    assert found["hosts"] == [
        {
            "host": "docker.example",
            "port": 2375,
            "available": True,
            "blacklisted": False,
            "circuit": "closed",
            "error": None,
        }
    ]
    place = {"host": "docker.example", "port": 2375, "id": "c0ffee"}
    assert found["containers"] == {"running": [place]}
    assert set(found["queues"]) == {"jobs", "monitor", "webhooks", "notify", "scheduled"}
    assert found["queues"]["monitor"] == {"length": 1}
    assert found["queues"]["scheduled"]["length"] == 1
    assert found["tasks"] == {"count": 1}
    assert found["jobs"] == {"count": 2, "scheduled": []}


async def test_tasks_come_in_pages(tmp_path: Path) -> None:
    """Oldest first, with links; the page after the last is a 404."""
    body = {"image": "x", "command": "echo"}
    async with opened(tmp_path, page_size=2) as world:
        empty = (await world.api.get("/tasks")).json()
        assert (empty["items"], empty["total"], empty["pages"]) == ([], 0, 0)
        for name in ("Hello-World", "b.world", "c", "d_e", "hello-world x"):
            assert (await world.api.post(f"/tasks/{name}", json=body)).status_code == 200
        await world.api.post("/tasks/c", json=body)
        pages = [(await world.api.get(f"/tasks/?page={one}")).json() for one in (1, 2, 3)]
        names = [one["taskId"] for page in pages for one in page["items"]]
        assert names == ["Hello-World", "b.world", "c", "d_e", "hello-world x"]
        assert [page["nextUrl"] for page in pages] == [
            f"{world.url}/tasks/?page=2",
            f"{world.url}/tasks/?page=3",
            None,
        ]
        assert [page["prevUrl"] for page in pages][:2] == [None, f"{world.url}/tasks/?page=1"]
        assert (pages[1]["hasNext"], pages[1]["hasPrev"], pages[1]["perPage"]) == (True, True, 2)
        third = pages[1]["items"][0]
        assert third["jobsCount"] == 2
        assert third["lastModifiedAt"] > third["createdAt"] > 1_500_000_000
        assert third["url"] == f"{world.url}/tasks/c"
        assert (await world.api.get("/tasks?page=4")).status_code == 404
        assert (await world.api.get("/search?query=world&page=3")).status_code == 404
        for query, wanted in (
            ("world", ["Hello-World", "b.world", "hello-world x"]),
            ("WORLD b", ["Hello-World", "b.world", "hello-world x"]),
            ("wor", []),
            ("e", []),
            ("d_e", ["d_e"]),
            ("x", ["hello-world x"]),
            ("---", []),
        ):
            found: list[str] = []
            url: str | None = f"/search?query={query}"
            while url is not None:
                page = (await world.api.get(url)).json()
                found += [one["taskId"] for one in page["items"]]
                url = page["nextUrl"]
            assert found == wanted, query


async def test_jobs_of_a_task_come_latest_modified_first(world: FastlaneWorld) -> None:
    """All of them, with links that end in a slash."""
    first, second = await world.put(), await world.put()
    await world.put(first["jobId"], startIn="1h")
    found = (await world.api.get("/tasks/mail")).json()
    assert found["taskId"] == "mail"
    assert [one["id"] for one in found["jobs"]] == [first["jobId"], second["jobId"]]
    assert found["jobs"][0]["url"] == f"{first['jobUrl']}/"
    assert set(found["jobs"][0]) == {"id", "createdAt", "url"}


async def test_log_line_names_the_request(
    world: FastlaneWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the id that came along."""
    await world.api.get("/tasks", headers={"x-request-id": "my-id-1"})
    shown = capsys.readouterr().out
    line = next(one for one in shown.splitlines() if "my-id-1" in one)
    for part in ("method=GET", "path=/tasks", "status=200", "duration_ms=", "ip=127.0.0.1"):
        assert part in line


async def test_a_page_follows_the_output(world: FastlaneWorld) -> None:
    """Also for unknown ids; nothing from outside, no markup out of names, right prefix."""
    for base, prefix in ((world.url, ""), (world.main_url + "/fastlane", "/fastlane")):
        answer = await world.api.get(base + f"/tasks/%3C%2Fscript%3E/jobs/{UNKNOWN}/stream")
        assert answer.status_code in {200, 404}
        answer = await world.api.get(base + f"/tasks/a%3Cb%3E%22/jobs/{UNKNOWN}/stream/")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "a<b>" not in answer.text
        assert f"a&lt;b&gt;&quot; / {UNKNOWN}" in answer.text
        assert f'"{prefix}/tasks/a%3Cb%3E%22/jobs/{UNKNOWN}/ws/"' in answer.text
        assert "http://" not in answer.text
        assert "innerHTML" not in answer.text


async def test_unknown_paths_refuse_sockets(world: FastlaneWorld) -> None:
    """Before the upgrade."""
    for path in ("/nope", f"/tasks/none/jobs/{UNKNOWN}/ws", "/tasks/mail"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(world.url.replace("http", "ws") + path, proxy=None)
        assert refused.value.response.status_code in {403, 404}


async def test_health_tells_of_trouble(world: FastlaneWorld) -> None:
    """500 with the source once the queue is closed."""
    world.wired.engine.bus.close()
    answer = await world.api.get("/healthcheck")
    assert answer.status_code == 500
    assert answer.json()["redis"] is False
    assert answer.json()["errors"][0]["source"] == "redis"
    assert isinstance(answer, httpx2.Response)
