"""Bodies: sections 2, 5 and 6 of the contract, over HTTP."""

from typing import Any

import pytest
from drove_world import OP_SPEC, DroveWorld, opened, spec

from taskyard.core.tasks import Container

pytestmark = pytest.mark.anyio

DOCKER = {"type": "DOCKER", "url": "i", "dockerPullTimeout": "1m"}
CPU, MEMORY = {"type": "CPU", "count": 1}, {"type": "MEMORY", "sizeInMB": 1}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"sourceAppName": None}, "sourceAppName"),
        ({"sourceAppName": ""}, "sourceAppName"),
        ({"taskId": "a b"}, "taskId"),
        ({"taskId": "ä"}, "taskId"),
        ({"taskId": "a\n"}, "taskId"),
        ({"executable": None}, "executable"),
        ({"executable": {**DOCKER, "url": ""}}, "executable.url"),
        ({"executable": {"url": "i"}}, "executable.dockerPullTimeout"),
        ({"resources": []}, "resources"),
        ({"resources": [CPU]}, "resources"),
        ({"resources": [{"type": "CPU"}, MEMORY]}, "resources[0].count"),
        ({"resources": [CPU, {"type": "MEMORY", "sizeInMB": -1}]}, "resources[1].sizeInMB"),
        ({"volumes": [{"pathInContainer": "/a", "mode": "READ_ONLY"}]}, "volumes[0].pathOnHost"),
        ({"volumes": [{"pathOnHost": "/a", "mode": "READ_ONLY"}]}, "volumes[0].pathInContainer"),
        ({"volumes": [{"pathOnHost": "/a", "pathInContainer": "/b"}]}, "volumes[0].mode"),
        ({"configs": [{"type": "INLINE", "data": "YQ=="}]}, "configs[0].localFilename"),
        ({"configs": [{"type": "INLINE", "localFilename": "/a", "data": ""}]}, "configs[0].data"),
        (
            {"configs": [{"type": "INLINE", "localFilename": "/a", "data": "%"}]},
            "configs[0].data",
        ),
        (
            {"configs": [{"type": "INLINE", "localFilename": "/../a", "data": "YQ=="}]},
            "configs[0].localFilename",
        ),
        (
            {"configs": [{"type": "EXECUTOR_LOCAL_FILE", "localFilename": "/a"}]},
            "configs[0].filePathOnHost",
        ),
        (
            {"configs": [{"type": "CONTROLLER_HTTP_FETCH", "localFilename": "/a"}]},
            "configs[0].http",
        ),
        (
            {"configs": [{"type": "EXECUTOR_HTTP_FETCH", "localFilename": "/a", "http": {}}]},
            "configs[0].http.hostname",
        ),
        ({"logging": {"type": "LOCAL", "maxFiles": 1}}, "logging.maxSize"),
        ({"logging": {"type": "LOCAL", "maxSize": "1m", "maxFiles": 101}}, "logging.maxFiles"),
        ({"logging": {"type": "RSYSLOG"}}, "logging.server"),
        ({"devices": [{"type": "DIRECT"}]}, "devices[0].pathOnHost"),
        ({"userSpec": {"user": ""}}, "userSpec.user"),
        ({"args": ["x"] * 2049}, "args"),
        ({"placementPolicy": {"type": "MAX_N_PER_HOST", "max": 65}}, "placementPolicy.max"),
        ({"placementPolicy": {"type": "MAX_N_PER_HOST"}}, "placementPolicy.max"),
        ({"placementPolicy": {"type": "MATCH_TAG"}}, "placementPolicy.tag"),
        ({"placementPolicy": {"type": "RULE_BASED", "rule": "true"}}, "placementPolicy.ruleType"),
        (
            {"placementPolicy": {"type": "RULE_BASED", "ruleType": "MVEL"}},
            "placementPolicy.rule",
        ),
        ({"placementPolicy": {"type": "COMPOSITE", "policies": []}}, "placementPolicy.policies"),
        (
            {"placementPolicy": {"type": "COMPOSITE", "policies": [{"type": "MATCH_TAG"}]}},
            "placementPolicy.policies[0].tag",
        ),
    ],
)
async def test_violations_are_led_by_their_path(
    shared: DroveWorld, changes: dict[str, Any], path: str
) -> None:
    """On creation with ``spec.`` before it, on validation without."""
    problems = await shared.refused(**changes)
    assert [one.split(" ")[0] for one in problems] == [path]
    answer = await shared.operate("CREATE", spec=spec(**changes))
    assert answer.json()["data"]["validationErrors"][0].startswith(f"spec.{path} ")


async def test_all_violations_are_told_together(world: DroveWorld) -> None:
    """Of the operation too."""
    answer = await world.post("/tasks/operations", {"type": "CREATE", "spec": {}})
    said = {one.split(" ")[0] for one in answer.json()["data"]["validationErrors"]}
    assert said == {
        "spec.sourceAppName",
        "spec.taskId",
        "spec.executable",
        "spec.resources",
        "opSpec",
    }


@pytest.mark.parametrize(
    ("op_spec", "path"),
    [
        ({**OP_SPEC, "timeout": None}, "opSpec.timeout"),
        ({**OP_SPEC, "parallelism": 0}, "opSpec.parallelism"),
        ({**OP_SPEC, "parallelism": 513}, "opSpec.parallelism"),
        ({"timeout": "1s", "failureStrategy": "STOP"}, "opSpec.parallelism"),
        ({**OP_SPEC, "failureStrategy": None}, "opSpec.failureStrategy"),
        (None, "opSpec"),
    ],
)
async def test_limits_of_operations_are_checked(
    shared: DroveWorld, op_spec: Any, path: str
) -> None:
    """For both kinds alike, though they mean nothing for tasks."""
    for members in ({"spec": spec()}, {"sourceAppName": "A", "taskId": "B"}):
        kind = "CREATE" if "spec" in members else "KILL"
        answer = await shared.operate(kind, **{**members, "opSpec": op_spec})
        assert answer.status_code == 400
        (said,) = answer.json()["data"]["validationErrors"]
        assert said.startswith(f"{path} ")


async def test_kill_needs_both_names(world: DroveWorld) -> None:
    """And no pattern."""
    answer = await world.operate("KILL", sourceAppName="")
    said = {one.split(" ")[0] for one in answer.json()["data"]["validationErrors"]}
    assert said == {"sourceAppName", "taskId"}
    answer = await world.operate("KILL", sourceAppName="a b/c", taskId="d")
    assert "a b/c/d" in answer.json()["data"]["validationErrors"][0]


@pytest.mark.parametrize("body", [b"", b"  ", b"null"])
async def test_absent_bodies_are_violations(shared: DroveWorld, body: bytes) -> None:
    """Named as such."""
    for path in ("/tasks/operations", "/tasks/validate/spec"):
        answer = await shared.api.post(
            path, content=body, headers={"content-type": "application/json"}
        )
        assert answer.json() == {
            "status": "FAILED",
            "message": "Command validation failure",
            "data": {"validationErrors": ["The request body must not be null"]},
        }


@pytest.mark.parametrize(
    "changes",
    [
        {"executable": {**DOCKER, "dockerPullTimeout": "1h30m"}},
        {"executable": {**DOCKER, "dockerPullTimeout": "100"}},
        {"executable": {**DOCKER, "dockerPullTimeout": 100}},
        {"executable": {**DOCKER, "dockerPullTimeout": "5 M"}},
        {"executable": {**DOCKER, "type": "docker"}},
        {"resources": [{"type": "cpu", "count": 1}]},
        {"resources": [{"count": 1}]},
        {"resources": [{"type": "CPU", "count": "many"}]},
        {"volumes": [{"pathInContainer": "/a", "pathOnHost": "/b", "mode": "SOMEHOW"}]},
        {"placementPolicy": {"type": "SOMEWHERE"}},
        {"placementPolicy": {"tag": "x"}},
        {"env": {"A": 1}},
        {"args": "x"},
        {"taskId": 1},
    ],
)
async def test_what_cannot_be_read_is_a_json_failure(
    shared: DroveWorld, changes: dict[str, Any]
) -> None:
    """With the parser's reason, and no task."""
    for answer in (
        await shared.post("/tasks/validate/spec", spec(**changes)),
        await shared.operate("CREATE", spec=spec(**changes)),
    ):
        body = answer.json()
        assert (answer.status_code, body["message"]) == (400, "JSON validation failure"), body
        assert len(body["data"]["validationErrors"]) == 1
    assert await shared.active() == []


@pytest.mark.parametrize("body", [b"{", b'{"type": "SCALE"}', b"{}", b"[]", b"\xff", b'"x"'])
async def test_bodies_that_are_no_operation(shared: DroveWorld, body: bytes) -> None:
    """Told as the parser has it."""
    headers = {"content-type": "application/json"}
    answer = await shared.api.post("/tasks/operations", content=body, headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (400, "JSON validation failure")


async def test_reading_is_lenient_where_the_contract_says_so(world: DroveWorld) -> None:
    """Unknown members, cases of enum values, the missing type of an executable, null."""
    answer = await world.post(
        "/tasks/validate/spec",
        spec(
            executable={"url": "i", "dockerPullTimeout": "15mins", "more": 1},
            volumes=[{"pathInContainer": "/a", "pathOnHost": "/b", "mode": "read_only"}],
            unknown={"x": None},
            env=None,
        ),
    )
    assert answer.json() == {"status": "SUCCESS", "message": "success"}
    op_spec = {**OP_SPEC, "failureStrategy": "stop", "timeout": "5   minutes"}
    answer = await world.operate("CREATE", spec=spec("T1", "hang"), opSpec=op_spec)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("5m", "5 minutes"),
        ("100s", "100 seconds"),
        ("1h", "1 hour"),
        ("120 s", "120 seconds"),
        ("1d", "1 day"),
        ("2min", "2 minutes"),
        ("90000ms", "90000 milliseconds"),
    ],
)
async def test_durations_are_normalised(world: DroveWorld, given: str, shown: str) -> None:
    """Their unit is kept."""
    executable = {**DOCKER, "dockerPullTimeout": given}
    task = await world.create("T1", "echo", executable=executable)
    assert task["executable"]["dockerPullTimeout"] == shown


async def test_validation_starts_nothing_and_ignores_duplicates(world: DroveWorld) -> None:
    """It answers without data."""
    await world.create("T1", "echo")
    answer = await world.post("/tasks/validate/spec", spec("T1"))
    assert answer.json() == {"status": "SUCCESS", "message": "success"}
    assert len(world.workers.given) == 1


@pytest.mark.parametrize(
    ("given", "limit_s"), [("36h", 129_600), ("10d", 864_000), ("9999999d", 31_536_000)]
)
async def test_pulls_may_take_days(world: DroveWorld, given: str, limit_s: float) -> None:
    """As long as was asked for, or a year; it is shown as it was given."""
    executable = {**DOCKER, "dockerPullTimeout": given}
    task = await world.create("T1", "hang", executable=executable)
    assert task["executable"]["dockerPullTimeout"].startswith(given[:-1])
    (work,) = [one.work for one in world.workers.given]
    assert isinstance(work, Container)
    assert work.pull_timeout_s == limit_s


async def test_what_is_switched_off_is_refused_together(tmp_path: Any) -> None:
    """Volumes outside of the allowed directories, arguments, devices, files, LOCAL."""
    async with opened(tmp_path, allowed_mount_dirs=["/data"], args=False) as world:
        mode = {"mode": "READ_ONLY", "pathInContainer": "/x"}
        problems = await world.refused(
            volumes=[{"pathOnHost": "/data/a", **mode}, {"pathOnHost": "/database", **mode}],
            args=["x"],
            devices=[{"type": "DIRECT", "pathOnHost": "/dev/null"}],
            configs=[
                {"type": "EXECUTOR_LOCAL_FILE", "localFilename": "/a", "filePathOnHost": "/etc/x"}
            ],
            placementPolicy={"type": "COMPOSITE", "policies": [{"type": "LOCAL"}]},
        )
        for word in ("/database", "args", "Device", "/etc/x", "LOCAL"):
            assert any(word in one for one in problems), word
        assert len(problems) == 5
        escaping = [{"pathOnHost": "/data/../etc", **mode}]
        assert len(await world.refused(volumes=escaping, args=None)) == 1


async def test_joined_arguments_have_a_limit(world: DroveWorld) -> None:
    """Of 2048 characters."""
    (problem,) = await world.refused(args=["x" * 1024, "x" * 1024])
    assert "2048" in problem
    await world.create("T1", "x" * 1023, "x" * 1024)


async def test_what_runs_in_the_container(tmp_path: Any, monkeypatch: Any) -> None:
    """Section 14: environment, user, files, volumes, devices, limits."""
    monkeypatch.setenv("GIVEN_HERE", "secret")
    server = {"container_devices": ["/dev/x"], "container_device_drivers": ["d"]}
    async with opened(tmp_path, devices=True, forward_env=["GIVEN_*"], server=server) as world:
        await world.create(
            "T1",
            "hang",
            env={"A": "1", "GIVEN_HERE": "", "OTHER": "", "HOST": "mine", "DROVE_TASK_ID": "no"},
            userSpec={"user": "1000", "group": "users"},
            volumes=[{"pathInContainer": "/in", "pathOnHost": "/out", "mode": "read_write"}],
            configs=[{"type": "INLINE", "localFilename": "/c.txt", "data": "YQ=="}],
            devices=[
                {"type": "DIRECT", "pathOnHost": "/dev/x", "permissions": "read_write"},
                {"type": "DETAILED", "driver": "d", "count": -1, "capabilities": [["gpu"]]},
            ],
            resources=[CPU, CPU, MEMORY, MEMORY],
            logging={"type": "LOCAL", "maxSize": "1k", "maxFiles": 2},
        )
        (given,) = world.workers.given
        work = given.work
        assert isinstance(work, Container)
        shown = await world.show()
        assert work.env == {
            "A": "1",
            "HOST": "mine",
            "DROVE_CONTAINER_ID": "example/image",
            "DROVE_TASK_ID": "T1",
            "DROVE_INSTANCE_ID": shown["instanceId"],
            "DROVE_SOURCE_APP_NAME": "APP",
        }
        assert work.inherited_env == ("GIVEN_HERE",)
        assert work.hostname_env == ("DROVE_EXECUTOR_HOST",)
        assert (work.user, work.args, work.pull) == ("1000:users", ("hang",), "always")
        assert (work.pull_timeout_s, work.open_files) == (100, 470_000)
        (volume,) = work.volumes
        assert (volume.host, volume.container, volume.read_only) == ("/out", "/in", False)
        (file,) = work.files
        assert (file.path, file.data) == ("/c.txt", "YQ==")
        (device,), (request,) = work.devices, work.device_requests
        assert (device.host, device.container, device.permissions) == ("/dev/x", "/dev/x", "rw")
        assert (request.driver, request.count, request.capabilities) == ("d", -1, (("gpu",),))
        assert (given.resources.cores, given.resources.memory_bytes) == (2, 2 << 20)
        assert (given.log_limit_bytes, work.keep_last_bytes) == (2048, 1024)
        assert "configs" not in shown


async def test_devices_and_users_need_the_operator_of_the_server_too(tmp_path: Any) -> None:
    """The refusal names the setting; what the dialect alone allows is not enough."""
    server = {"container_users": ["1000:1000"], "container_devices": ["/dev/x"]}
    async with opened(tmp_path, devices=True, server=server) as world:
        for device, setting in (
            ({"type": "DIRECT", "pathOnHost": "/dev/sda"}, "container_devices"),
            ({"type": "DETAILED", "driver": "d", "count": -1}, "container_device_drivers"),
            ({"type": "DETAILED", "count": -1}, "container_device_drivers"),
        ):
            (problem,) = await world.refused(devices=[device])
            assert problem.startswith("devices ")
            assert setting in problem
        (problem,) = await world.refused(userSpec={"user": "root"})
        assert problem.startswith("userSpec ")
        assert "container_users" in problem
        await world.create("T1", "hang", devices=[{"type": "DIRECT", "pathOnHost": "/dev/x"}])
        (given,) = world.workers.given
        assert isinstance(given.work, Container)
        assert given.work.user == "1000:1000"
