"""``taskyard cron``."""

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from taskyard.cli.error_messages import problems_as_flags
from taskyard.cli.errors import CommandError, UsageError
from taskyard.cli.frame import Printed, client_command, lines, table
from taskyard.cli.last_task import remember, task_id_of
from taskyard.cli.quantities import format_moment
from taskyard.cli.task_options import TaskOptions, command_of
from taskyard.cli.task_view import command_line
from taskyard.sdk import Client
from taskyard.sdk.models import Task

app = App(name="cron", help="Recurring tasks.", version_flags=[])


@app.command
@client_command
def ls(
    client: Client,
    *,
    group: Annotated[str | None, Parameter(name=["--group", "-g"])] = None,
) -> Printed:
    """List recurring tasks with their next run.

    Args:
        group: Only this group.
    """
    scheduled = client.list(state=["scheduled"], group=group, limit=500)
    return table(
        [task for task in scheduled if task.cron is not None],
        {
            "ID": lambda task: task.id,
            "RULE": lambda task: task.cron,
            "ZONE": lambda task: task.timezone,
            "NEXT": lambda task: format_moment(task.start_at),
            "GROUP": lambda task: task.group,
            "NAME": lambda task: task.name,
            "COMMAND": lambda task: command_line(task, 60),
        },
    )


@app.command
@client_command
def add(
    client: Client,
    rule: str,
    *command: str,
    shell: Annotated[str | None, Parameter(name=["--shell", "-s"])] = None,
    options: TaskOptions = TaskOptions(),  # noqa: B008 - frozen
) -> Printed:
    """Add a recurring task: taskyard cron add '0 8 * * *' --tz Europe/Berlin -- COMMAND...

    Args:
        rule: Five fields: minute hour day month weekday.
        command: Program and arguments, after --.
        shell: A shell command line, instead of a program.
        options: Options of the task.
    """
    wanted = command_of(command, shell)
    if wanted is None:
        raise UsageError("no command given", what_to_do="Give a command after --, or --shell.")
    members = options.members()
    if {"cron", "start_at", "start_in_s"} & members.keys():
        raise UsageError("--cron, --at and --in cannot be used here: RULE says when to run")
    with problems_as_flags(cron="RULE"):
        task = client.submit(wanted, cron=rule, **members)
    remember(task.id)
    return _next(task)


@app.command
@client_command
def edit(
    client: Client,
    task: str,
    *,
    rule: Annotated[str | None, Parameter(name=["--rule", "--cron"])] = None,
    tz: str | None = None,
    catch_up: Literal["none", "one", "all"] | None = None,
    priority: Annotated[int | None, Parameter(name=["--priority", "-p"])] = None,
) -> Printed:
    """Change rule, zone, catch-up policy or priority of a recurring task.

    Args:
        task: Id of the recurring task; @last is the task submitted last.
        rule: Five fields: minute hour day month weekday.
        tz: Time zone, such as Europe/Berlin.
        catch_up: Which runs missed while the server was down to make up for.
        priority: -100 to 100; higher starts first.
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
    recurring = _recurring(client, task_id_of(task))
    with problems_as_flags(cron="--rule"):
        return _next(client.update(recurring.id, **members))


@app.command
@client_command
def rm(client: Client, *tasks: str) -> Printed:
    """Stop recurring tasks; runs that have started continue.

    Args:
        tasks: Ids of recurring tasks; @last is the task submitted last.
    """
    if not tasks:
        raise UsageError("give the ids of recurring tasks")
    outcomes = [client.cancel(_recurring(client, task_id_of(task)).id) for task in tasks]
    return lines(outcomes, [f"{one.task_id} {one.outcome}" for one in outcomes])


@app.command
@client_command
def jobs(client: Client) -> Printed:
    """List fastlane jobs that are scheduled or recur."""
    return table(
        client.jobs(),
        {
            "ID": lambda job: job.id,
            "RULE": lambda job: job.cron or "once",
            "NEXT": lambda job: format_moment(job.next_at),
            "GROUP": lambda job: job.group,
            "COMMAND": lambda job: " ".join((f"[{job.image}]", *job.command))[:60],
        },
    )


@app.command
@client_command
def cancel_job(
    client: Client, job: str, *, group: Annotated[str, Parameter(name=["--group", "-g"])]
) -> Printed:
    """Stop a job, and cancel or kill its last run.

    Args:
        job: Id of the job.
        group: Group of the job; ids are unique within it.
    """
    cancelled = client.cancel_job(job, group)
    return lines(cancelled, [f"cancelled {cancelled.id}"])


def _recurring(client: Client, task_id: str) -> Task:
    task = client.get(task_id)
    if task.cron is None:
        raise CommandError(f"task {task_id} does not recur", what_to_do="See 'taskyard cron ls'.")
    return task


def _next(task: Task) -> Printed:
    return lines(task, [f"{task.id}  next {format_moment(task.start_at) or 'never'}"])
