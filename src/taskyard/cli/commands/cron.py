"""``taskyard cron``."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from taskyard.cli.connection import Connection
from taskyard.cli.error_messages import problems_as_flags
from taskyard.cli.errors import CommandError, UsageError
from taskyard.cli.last_task import remember, task_id_of
from taskyard.cli.output import plain, print_json, print_table, say
from taskyard.cli.quantities import format_moment
from taskyard.cli.task_options import TaskOptions, command_of
from taskyard.cli.task_view import command_line
from taskyard.sdk import Client
from taskyard.sdk.models import Task

app = App(name="cron", help="Recurring tasks.", version_flags=[])


@app.command
def ls(
    *,
    group: Annotated[str | None, Parameter(name=["--group", "-g"])] = None,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List recurring tasks and when they fire next.

    Args:
        group: Only this group.
        connection: Which server.
    """
    with connection.open() as client:
        waiting = client.list(state=["scheduled"], group=group, limit=500)
        found = [task for task in waiting if task.cron is not None]
    if connection.as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    print_table(
        ("ID", "RULE", "ZONE", "NEXT", "GROUP", "NAME", "COMMAND"),
        (
            (
                plain(task.id),
                plain(task.cron),
                plain(task.timezone),
                plain(format_moment(task.start_at, now)),
                plain(task.group),
                plain(task.name),
                plain(command_line(task, 60)),
            )
            for task in found
        ),
    )


@app.command
def add(
    rule: str,
    *command: str,
    shell: Annotated[str | None, Parameter(name=["--shell", "-s"])] = None,
    options: TaskOptions = TaskOptions(),  # noqa: B008 - frozen
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Add a recurring task: taskyard cron add '0 8 * * *' --tz Europe/Berlin -- COMMAND...

    Args:
        rule: Five fields: minute hour day month weekday.
        command: Program and arguments, behind --.
        shell: A shell command line instead.
        options: What else to say about the task.
        connection: Which server.
    """
    wanted = command_of(command, shell)
    if wanted is None:
        raise UsageError("nothing to run", what_to_do="Give a command behind --, or --shell.")
    members = options.members()
    if {"cron", "start_at", "start_in_s"} & members.keys():
        raise UsageError("the rule says when; leave out --cron, --at and --in")
    with connection.open() as client, problems_as_flags(cron="RULE"):
        task = client.submit(wanted, cron=rule, **members)
    remember(task.id)
    _print(task, connection)


@app.command
def edit(
    task: str,
    *,
    rule: Annotated[str | None, Parameter(name=["--rule", "--cron"])] = None,
    tz: str | None = None,
    catch_up: Literal["none", "one", "all"] | None = None,
    priority: Annotated[int | None, Parameter(name=["--priority", "-p"])] = None,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Change rule, zone, catch-up policy or priority of a recurring task.

    Args:
        task: Id of the recurring task; @last is the one submitted last.
        rule: Five fields: minute hour day month weekday.
        tz: Time zone, such as Europe/Berlin.
        catch_up: What becomes of firings missed while the server was down.
        priority: -100 to 100; higher starts first.
        connection: Which server.
    """
    members: dict[str, Any] = {
        "cron": rule,
        "timezone": tz,
        "catch_up": catch_up,
        "priority": priority,
    }
    members = {name: value for name, value in members.items() if value is not None}
    if not members:
        raise UsageError(
            "nothing to change", what_to_do="Give --rule, --tz, --catch-up or --priority."
        )
    with connection.open() as client:
        recurring = _recurring(client, task_id_of(task))
        with problems_as_flags(cron="--rule"):
            changed = client.update(recurring.id, **members)
        _print(changed, connection)


@app.command
def rm(
    *tasks: str,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """End the recurrence; firings that run go on.

    Args:
        tasks: Ids of recurring tasks; @last is the one submitted last.
        connection: Which server.
    """
    if not tasks:
        raise UsageError("give ids of recurring tasks")
    with connection.open() as client:
        outcomes = [client.cancel(_recurring(client, task_id_of(task)).id) for task in tasks]
    if connection.as_json:
        print_json(outcomes)
    else:
        for outcome in outcomes:
            say(f"{outcome.task_id} {outcome.outcome}")


@app.command
def jobs(
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List jobs of fastlane that wait for their time or recur.

    Args:
        connection: Which server.
    """
    with connection.open() as client:
        found = client.jobs()
    if connection.as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    print_table(
        ("ID", "RULE", "NEXT", "GROUP", "COMMAND"),
        (
            (
                plain(job.id),
                plain(job.cron or "once"),
                plain(format_moment(job.next_at, now)),
                plain(job.group),
                plain(" ".join((f"[{job.image}]", *job.command))[:60]),
            )
            for job in found
        ),
    )


@app.command
def cancel_job(
    job: str,
    *,
    group: Annotated[str, Parameter(name=["--group", "-g"])],
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Let a job start no more, and cancel or kill its last run.

    Args:
        job: Id of the job.
        group: Group of the job; ids are unique within it.
        connection: Which server.
    """
    with connection.open() as client:
        cancelled = client.cancel_job(job, group)
    if connection.as_json:
        print_json(cancelled)
    else:
        say(f"cancelled {cancelled.id}")


def _recurring(client: Client, task_id: str) -> Task:
    task = client.get(task_id)
    if task.cron is None:
        raise CommandError(f"task {task_id} does not recur", what_to_do="See 'taskyard cron ls'.")
    return task


def _print(task: Task, connection: Connection) -> None:
    if connection.as_json:
        print_json(task)
        return
    say(f"{task.id}  next {format_moment(task.start_at, datetime.now(UTC)) or 'never'}")
