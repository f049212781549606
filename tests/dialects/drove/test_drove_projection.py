"""The projection of active tasks under changes that come earlier or later than expected."""

import anyio
import pytest
from drove_world import DroveWorld, spec

from taskyard.dialects.drove.states import TRANSITIONS, State, path_to_end
from taskyard.dialects.drove.units import Duration, log_bytes


@pytest.mark.anyio
async def test_tasks_that_end_before_their_creator_hears_of_them(
    world: DroveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Are not active, and all their states are told."""
    tasks = world.wired.engine.tasks
    submit = tasks.submit

    async def late(*arguments: object) -> object:
        answer = await submit(*arguments)  # type: ignore[arg-type]  # handed through
        task_id = answer[0].id
        with anyio.fail_after(10):
            while True:
                changed = world.wired.engine.bus.changed(task_id)
                task = await tasks.get(arguments[0], task_id)  # type: ignore[arg-type]  # as above
                if task.finished_at is not None:
                    return answer
                await changed.wait()

    monkeypatch.setattr(tasks, "submit", late)
    answer = await world.operate("CREATE", spec=spec("T1", "echo"))
    assert answer.status_code == 200
    assert await world.active() == []
    states = [one["CURRENT_STATE"] for one in await world.events()]
    assert states[0] == "PENDING"
    assert states[-1] == "STOPPED"


@pytest.mark.anyio
async def test_lists_read_while_tasks_end_show_only_what_is_active(world: DroveWorld) -> None:
    """However both fall together."""
    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(world.create, f"T{number}", "echo")
        for _ in range(10):
            group.start_soon(world.active)

    async def empty() -> bool:
        return await world.active() == []

    await world.until(empty)


@pytest.mark.parametrize("state", [State.PENDING, State.PROVISIONING, State.RUNNING])
@pytest.mark.parametrize("end", [State.STOPPED, State.LOST])
@pytest.mark.parametrize("ran", [True, False])
@pytest.mark.parametrize("unmade", [True, False])
def test_paths_keep_to_the_table(state: State, end: State, ran: bool, unmade: bool) -> None:
    """From every state that the engine tells apart."""
    at = state
    for following in path_to_end(state, end, ran=ran, unmade=unmade):
        assert following in TRANSITIONS[at]
        at = following
    assert at is end


@pytest.mark.parametrize("text", ["", "5", "m", "1.5s", "-1s", "1h30m", "5 M", " 1s", "1s\n", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    """Raises."""
    with pytest.raises(ValueError, match="invalid duration"):
        Duration.parse(text)


def test_sizes_of_logs() -> None:
    """With the units of container engines."""
    assert [log_bytes(one) for one in ("10m", "1G", "5k", "7", "0", "x", "1.5m")] == [
        10 << 20,
        1 << 30,
        5 << 10,
        7,
        None,
        None,
        None,
    ]
