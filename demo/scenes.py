"""What the tour shows, one scene a function. Each checks what it claims."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from demo.server import leftovers
from taskyard.sdk import Client
from taskyard.sdk.client_models import Output
from taskyard.sdk.models import Attempt, Exit, Task

STUBBORN = (
    "trap '' TERM; (setsid sh -c 'trap \"\" TERM; : {mark}; while :; do sleep 1; done' &) ; "
    "echo 'I ignore SIGTERM, and so does my child in a session of its own'; "
    "while :; do sleep 1; done"
)
PIPELINE = (
    ("fetch", "for n in 1 2 3 4 5; do echo $((n * n)); sleep 0.2; done | tee numbers"),
    ("sort", "sort -rn numbers | tee sorted"),
    ("report", 'echo "largest: $(head -n 1 sorted), lines: $(wc -l < sorted)"'),
)
FLAKY = "n=$(cat tries 2>/dev/null || echo 0); echo $((n + 1)) > tries; "


class Tour:
    """The scenes, sharing a server and a screen."""

    def __init__(self, client: Client, console: Console, directory: str) -> None:
        self._client = client
        self._console = console
        self._directory = directory

    def recurring(self) -> Task:
        """Ask for a recurring task; its firing is shown at the end of the tour."""
        task = self._client.submit(["date", "-u"], cron="* * * * *", name="every minute")
        assert task.start_at is not None
        self._say(
            "A task that recurs",
            f'taskyard run --cron "* * * * *" -- date -u\n'
            f"fires next at {task.start_at:%H:%M:%S}; meanwhile:",
        )
        return task

    def pipeline(self) -> None:
        """A few commands one after the other, their output as it is written."""
        self._say("A pipeline of commands, with live output", "taskyard run --shell '…'")
        for name, shell in PIPELINE:
            task = self._client.submit(shell, name=name, group="pipeline", cwd=self._directory)
            self._expect(self._follow(task), "succeeded")

    def retried(self) -> None:
        """A command that fails twice, and is tried again by its policy."""
        self._say(
            "A task that fails, and is tried again",
            "taskyard run --retries 3 --backoff 0.5 --shell '…'",
        )
        shell = FLAKY + 'echo "try $((n + 1))"; test "$n" -ge 2'
        policy = {"max_attempts": 4, "backoff_min_s": 0.5, "jitter": 0.0}
        task = self._client.submit(shell, name="flaky", cwd=self._directory, retry=policy)
        self._expect(self._follow(task), "succeeded")
        self._attempts(self._client.attempts(task.id))

    def killed(self) -> None:
        """A tree of processes that will not go, and the proof that it went."""
        self._say("A task that will not end, and the proof of its end", "taskyard kill ID")
        mark = f"demo-{time.monotonic_ns()}"
        task = self._client.submit(STUBBORN.format(mark=mark), name="stubborn")
        for record in self._client.follow(task.id):
            if isinstance(record, Output):
                self._write(record)
                break
        self._until(lambda: len(leftovers(mark)) >= 1)
        self._client.cancel(task.id, grace_s=0.5)
        ended = self._client.wait(task.id, 30)
        self._expect(ended.state, "cancelled")
        (attempt,) = self._client.attempts(task.id)
        report = attempt.kill_report
        assert report is not None
        took = (report.done_at - report.requested_at).total_seconds()
        self._console.print(
            f"  first {report.signal}, after the grace everything by [b]{report.method}[/b]: "
            f"{report.killed_count} killed in {took:.2f} s, survivors: {len(report.survivors)}",
            soft_wrap=True,
        )
        alive = leftovers(mark)
        self._expect(f"{len(alive) + len(report.survivors)} alive", "0 alive")

    def waiting(self) -> None:
        """A task that cannot go yet, and the scheduler's own reason."""
        self._say("Why is it waiting?", "taskyard group limit mail 1; taskyard why ID")
        self._client.set_group_limit("mail", 1)
        first = self._client.submit(["sleep", "1.5"], group="mail")
        second = self._client.submit(["true"], group="mail")
        self._until(lambda: self._client.get(first.id).state == "running")
        why = self._client.why(second.id)
        self._console.print(f"  [b]{why.summary}[/b]")
        self._expect(why.code, "group_limit")
        self._expect(self._client.wait(second.id, 30).state, "succeeded")

    def fired(self, recurring: Task) -> None:
        """The first firing of the recurring task."""
        assert recurring.start_at is not None
        left = max(0.0, (recurring.start_at - datetime.now(UTC)).total_seconds())
        self._say("The recurring task", f"fires in {left:.0f} s")
        with self._console.status("waiting for the minute to turn …"):
            self._until(lambda: any(self._client.list(schedule=recurring.id)), 75)
        firing = next(self._client.list(schedule=recurring.id))
        self._expect(self._follow(firing), "succeeded")
        self._client.cancel(recurring.id)
        self._console.print(f"  due {firing.due_at:%H:%M:%S}; the recurrence is cancelled now")

    def summary(self) -> None:
        """Everything that ran."""
        table = Table(
            "name", "group", "state", "attempts", title="taskyard ls", title_justify="left"
        )
        for task in self._client.list(order="oldest"):
            table.add_row(task.name or "", task.group, task.state, str(task.attempt_count))
        self._console.print("\n", table)

    def _follow(self, task: Task) -> str:
        state = task.state
        for record in self._client.follow_task(task.id):
            if isinstance(record, Exit):
                state = record.task_state
            else:
                self._write(record)
        return state

    def _write(self, record: Output) -> None:
        for line in record.data.decode(errors="replace").splitlines():
            self._console.print(f"  [dim]│[/dim] {line}", highlight=False)

    def _attempts(self, attempts: tuple[Attempt, ...]) -> None:
        for attempt in attempts:
            self._console.print(
                f"  attempt {attempt.number}: {attempt.state}, exit code {attempt.exit_code}"
            )

    def _say(self, title: str, command: str) -> None:
        self._console.print(f"\n[bold cyan]{title}[/bold cyan]")
        for line in command.splitlines():
            self._console.print(f"  [green]{line}[/green]", highlight=False)

    def _expect(self, found: str, wanted: str) -> None:
        if found != wanted:
            raise SystemExit(f"the demo expected {wanted!r} and found {found!r}: this is a defect")
        self._console.print(f"  [green]✓[/green] {found}")

    def _until(self, holds: Callable[[], bool], seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise SystemExit("the demo waited in vain: this is a defect")
            time.sleep(0.05)
