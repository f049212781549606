"""Text that not every database can hold: the same in all of them, and nobody else's trouble."""

from typing import Any

import anyio
import pytest

from fakes.specs import WS, new_task
from taskyard.core.errors import TaskyardError
from taskyard.core.tasks import NewTask
from taskyard.ports.store import TaskQuery

pytestmark = pytest.mark.anyio


async def test_one_callers_values_fail_that_caller_alone(store: Any) -> None:
    """Whoever shares the commit is stored."""
    outcomes: dict[int, Any] = {}

    async def submit(number: int, new: NewTask) -> None:
        try:
            outcomes[number] = await store.tasks.submit([new], None)
        except TaskyardError as error:
            outcomes[number] = error

    keys = [f"k{number}\0" if number % 2 else None for number in range(10)]
    news = [new_task(idempotency_key=key) for key in keys]
    async with anyio.create_task_group() as tasks:
        for number, new in enumerate(news):
            tasks.start_soon(submit, number, new)
    assert [isinstance(outcomes[n], TaskyardError) for n in range(10)] == [False, True] * 5
    page = await store.tasks.list_tasks(TaskQuery(WS))
    assert {task.id for task in page.tasks} == {new.id for new in news[::2]}


async def test_a_name_may_have_what_no_column_holds(store: Any) -> None:
    """It is replaced where tasks are looked for, and shown as it is."""
    await store.tasks.submit([new_task(name="a\0b"), new_task(name="ab")], None)
    (found,) = (await store.tasks.list_tasks(TaskQuery(WS, text="A\0b"))).tasks
    assert found.spec.name == "a\0b"
