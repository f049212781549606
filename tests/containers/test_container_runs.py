"""Containers on real engines: how they run, what they may, how they end."""

from pathlib import Path
from typing import Any

import pytest
from container_harness import ContainerHarness

from engines import RealEngine
from taskyard.core.ids import AttemptId
from taskyard.core.resources import Resources
from taskyard.core.scheduling.cpu_allocation import CpuAllocation
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import PullPolicy, Volume
from taskyard.runtimes.container.request import container_name

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120), pytest.mark.xdist_group("containers")]


async def test_streams_are_separate_and_the_exit_code_is_its_own(harness: ContainerHarness) -> None:
    """Each stream lands in its file, and the code is the container's."""
    ended = await harness.run("echo out; echo err >&2; exit 3")
    assert (ended.state, ended.reason, ended.exit_code) == (
        AttemptState.FAILED,
        Reason.EXIT_CODE,
        3,
    )
    assert await harness.output(ended) == b"out\n"
    assert await harness.output(ended, "stderr") == b"err\n"
    assert ended.started_at is not None


async def test_success_is_code_zero(harness: ContainerHarness) -> None:
    """Nothing else is."""
    ended = await harness.run("true")
    assert (ended.state, ended.exit_code, ended.message) == (AttemptState.SUCCEEDED, 0, None)


async def test_unknown_image_says_so(harness: ContainerHarness) -> None:
    """A registry that cannot be had is the task's trouble, and the log tells of the try."""
    ended = await harness.run("true", image="localhost:1/no/such:thing")
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)
    assert ended.message is not None
    assert "localhost:1/no/such:thing" in ended.message
    assert b"pulling localhost:1/no/such:thing" in await harness.output(ended, "stderr")


async def test_pull_policies(harness: ContainerHarness) -> None:
    """Never does not pull; always does, also what is there."""
    never = await harness.run("true", image="localhost:1/no/such", pull=PullPolicy.NEVER)
    assert never.message is not None
    assert "never" in never.message
    assert await harness.output(never, "stderr") == b""
    always = await harness.run("true", image="localhost:1/busybox", pull=PullPolicy.ALWAYS)
    assert always.reason is Reason.START_FAILED


async def test_missing_program_says_so(harness: ContainerHarness) -> None:
    """It counts as a start that failed."""
    ended = await harness.run(args=("no-such-program",))
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)
    assert ended.message is not None
    assert "no-such-program" in ended.message


async def test_missing_user_says_so(harness: ContainerHarness) -> None:
    """It counts as a start that failed."""
    ended = await harness.run("true", user="nosuchuser")
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)


async def test_memory_limit(harness: ContainerHarness) -> None:
    """Whoever needs more is ended, and told why."""
    ended = await harness.run(
        "x=$(yes | head -c 200000000); echo ${#x}", resources=Resources(memory_bytes=24 << 20)
    )
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.OUT_OF_MEMORY)


async def test_memory_that_the_engine_tells_of_late(
    harness: ContainerHarness, engine: RealEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker Engine may announce it after the end, and then its records never have it."""
    if engine.kind == "podman":
        pytest.skip("Podman never announces it")
    has_ended = False
    late: list[AttemptId] = []
    client, watch = harness.runtime.engine, harness.runtime.watch
    inspect, announce = client.inspect, watch.on_out_of_memory

    async def forgetful(container: str) -> dict[str, Any] | None:
        nonlocal has_ended
        found = await inspect(container)
        if found is not None and found["State"]["Status"] == "exited":
            found["State"]["OOMKilled"] = False
            has_ended = True
            while late:
                announce(late.pop())
        return found

    def slow(attempt_id: AttemptId) -> None:
        if has_ended:
            announce(attempt_id)
        else:
            late.append(attempt_id)

    monkeypatch.setattr(client, "inspect", forgetful)
    monkeypatch.setattr(watch, "on_out_of_memory", slow)
    ended = await harness.run(
        "x=$(yes | head -c 200000000); echo ${#x}", resources=Resources(memory_bytes=24 << 20)
    )
    assert has_ended
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.OUT_OF_MEMORY)


async def test_a_kill_of_its_own_is_not_taken_for_memory(
    harness: ContainerHarness, engine: RealEngine
) -> None:
    """Docker Engine says when memory was short; without that it was not."""
    if engine.kind == "podman":
        pytest.skip("Podman does not tell one from the other")
    ended = await harness.run(
        "sh -c 'exit 137'; exit $?", resources=Resources(memory_bytes=24 << 20)
    )
    assert (ended.reason, ended.exit_code) == (Reason.EXIT_CODE, 137)


async def test_limits_reach_the_engine(harness: ContainerHarness, engine: RealEngine) -> None:
    """CPU, memory and process limits are the engine's to enforce."""
    asked = Resources(cpu_millis=500, memory_bytes=64 << 20, pids=50)
    assignment = await harness.start("sleep 60", resources=asked)
    await harness.started(assignment)
    host = engine.inspect(container_name(assignment.attempt_id))["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 64 << 20
    assert host["PidsLimit"] == 50
    assert host["NanoCpus"] == 500_000_000 or host["CpuQuota"] * 2 == host["CpuPeriod"]
    await harness.kill(assignment)


async def test_whole_cores_are_pinned(harness: ContainerHarness) -> None:
    """A container that was given a core runs on that one only."""
    ended = await harness.run(
        "grep Cpus_allowed_list /proc/self/status",
        resources=Resources(cores=1).granted(CpuAllocation(node=0, cores=(0,), pins_memory=False)),
    )
    assert (await harness.output(ended)).split()[1] == b"0"


async def test_little_is_allowed_by_default(harness: ContainerHarness) -> None:
    """No capabilities, no new privileges, nothing to write but /tmp."""
    ended = await harness.run(
        "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; touch /tmp/x && touch /x"
    )
    output = await harness.output(ended)
    assert output.replace(b"\t", b" ").splitlines() == [
        b"CapEff: 0000000000000000",
        b"CapBnd: 0000000000000000",
        b"NoNewPrivs: 1",
    ]
    assert ended.exit_code != 0
    assert b"/x" in await harness.output(ended, "stderr")


async def test_more_can_be_asked_for(harness: ContainerHarness) -> None:
    """Capabilities one by one, a writable root, the engine's own defaults."""
    one = await harness.run("grep CapEff /proc/self/status", capabilities=("NET_BIND_SERVICE",))
    assert (await harness.output(one)).split()[1] == b"0000000000000400"
    bare = await harness.run("touch /x && echo ok", privileged_defaults=True, read_only=False)
    assert await harness.output(bare) == b"ok\n"


async def test_environment_user_directory_and_hosts(harness: ContainerHarness) -> None:
    """What a task says is what its container sees."""
    ended = await harness.run(
        "echo $A $TASKYARD_TASK_ID $TASKYARD_ATTEMPT $TASKYARD_GROUP; id -un; pwd; cat /etc/hosts",
        env={"A": "b c"},
        user="nobody",
        cwd="/tmp",  # noqa: S108 - inside
        hosts={"db.example": "10.1.2.3"},
    )
    lines = (await harness.output(ended)).splitlines()
    assert lines[:3] == [b"b c task 1 group", b"nobody", b"/tmp"]
    assert any(line.split() == [b"10.1.2.3", b"db.example"] for line in lines[3:])


async def test_entry_point_and_arguments(harness: ContainerHarness) -> None:
    """Arguments follow the entry point."""
    ended = await harness.run(entrypoint=("echo", "one"), args=("two", "three"))
    assert await harness.output(ended) == b"one two three\n"


async def test_labels_name_the_attempt(harness: ContainerHarness, engine: RealEngine) -> None:
    """The task's own stand beside ours and cannot replace them."""
    assignment = await harness.start(
        "sleep 60", labels={"mine": "yes", "taskyard.attempt": "forged"}
    )
    await harness.started(assignment)
    found = engine.inspect(container_name(assignment.attempt_id))["Config"]["Labels"]
    assert found["mine"] == "yes"
    assert found["taskyard.attempt"] == assignment.attempt_id
    await harness.kill(assignment)


async def test_standard_input_arrives_and_ends(harness: ContainerHarness) -> None:
    """To the last byte; without any there is nothing to read."""
    ended = await harness.run("wc -c; echo done", stdin="x" * 3_000_000)
    assert await harness.output(ended) == b"3000000\ndone\n"
    ended = await harness.run("cat; echo done")
    assert await harness.output(ended) == b"done\n"


async def test_standard_input_nobody_reads(harness: ContainerHarness) -> None:
    """Keeps nobody from ending."""
    assert (await harness.run("exit 4", stdin="x" * 3_000_000)).exit_code == 4


async def test_volumes_need_the_operator(engine: RealEngine, tmp_path: Path) -> None:
    """Only below allowed directories, wherever links lead."""
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    for directory in (allowed, secret):
        directory.mkdir()
        (directory / "file").write_text(directory.name)
    (allowed / "link").symlink_to(secret)
    harness = ContainerHarness(tmp_path, engine, volumes=(str(allowed),))
    await harness.open()
    try:
        ended = await harness.run("cat /v/file", volumes=(Volume(str(allowed), "/v"),))
        assert await harness.output(ended) == b"allowed"
        ended = await harness.run("echo > /v/new", volumes=(Volume(str(allowed), "/v"),))
        assert ended.exit_code == 1
        writable = Volume(str(allowed), "/v", read_only=False)
        assert (await harness.run("echo > /v/new", volumes=(writable,))).exit_code == 0
        for path in (secret, allowed / "link", allowed / ".." / "secret", Path("/")):
            ended = await harness.run("cat /v/file", volumes=(Volume(str(path), "/v"),))
            assert ended.reason is Reason.START_FAILED
            assert ended.message is not None
            assert "not allowed" in ended.message
    finally:
        await harness.close()


async def test_timeout(harness: ContainerHarness) -> None:
    """The limit ends it, signal first, with a report."""
    ended = await harness.run("trap '' TERM; sleep 600", timeout_s=0.5, kill_grace_s=0.3)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.TIMEOUT)
    assert ended.kill_report is not None
    assert ended.kill_report.forced


async def test_kill_is_proven(harness: ContainerHarness) -> None:
    """Whoever ignores the signal is killed outright, with all its children."""
    assignment = await harness.start(
        "trap '' TERM; for i in 1 2 3; do (trap '' TERM; sleep 600) & done; echo up; wait"
    )
    await harness.has_written(assignment, b"up")
    report = await harness.kill(assignment, "SIGTERM", 0.3)
    ended = await harness.ended(assignment)
    assert (ended.state, ended.reason) == (AttemptState.KILLED, Reason.KILLED)
    assert (report.method, report.signal, report.forced) == ("container", "SIGTERM", True)
    assert report.killed_count >= 4
    assert report.survivors == ()
    assert not harness.runs(assignment)


async def test_polite_kill(harness: ContainerHarness) -> None:
    """Whoever obeys the signal is not killed outright, and says its last words."""
    assignment = await harness.start("trap 'echo bye; exit 0' TERM; echo up; sleep 600 & wait")
    await harness.has_written(assignment, b"up")
    report = await harness.kill(assignment, "SIGTERM", 20.0)
    assert not report.forced
    assert await harness.output(assignment) == b"up\nbye\n"


async def test_kill_before_it_runs(harness: ContainerHarness) -> None:
    """Nothing is left of it then."""
    assignment = await harness.start("sleep 600")
    await harness.order(assignment, "SIGKILL", 0.0)
    assert (await harness.ended(assignment)).state is AttemptState.KILLED
    await harness.runtime.release([assignment.attempt_id])


async def test_children_left_behind_end_with_it(harness: ContainerHarness) -> None:
    """The end of the first process is the end of all, and of the output."""
    ended = await harness.run("(sleep 600; echo late) & (sleep 600) & echo first; exit 5")
    assert ended.exit_code == 5
    assert await harness.output(ended) == b"first\n"
