"""``taskyard worker``."""

import os
import shlex
import stat
import time
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from taskyard.cli import exit_status
from taskyard.cli.connection import Connection
from taskyard.cli.errors import CommandError, UsageError
from taskyard.cli.frame import Printed, client_command, facts, lines, table
from taskyard.cli.output import coloured, note, print_json, say
from taskyard.cli.quantities import format_moment, format_size, seconds, size_bytes
from taskyard.cli.serving import join_and_work
from taskyard.cli.worker_manifests import DEFAULTS, Scheduler, Wanted
from taskyard.cli.worker_manifests import manifest as manifest_for
from taskyard.core.stay import Stay
from taskyard.sdk import Client
from taskyard.sdk.models import Worker

_POLL_S: Final = 0.5
_LONGEST_S: Final = 3650 * 86_400.0

app = App(
    name="worker",
    help="Workers: list, drain; join from another machine, with credentials and files for that.",
    version_flags=[],
)


@app.default
def join_worker(
    *,
    join: str | None = None,
    join_file: Path | None = None,
    data: Path = Path("taskyard-worker"),
    tag: tuple[str, ...] = (),
    slots: int | None = None,
    cpu: float | None = None,
    memory: str | None = None,
    drain: str | None = None,
    lifetime: str | None = None,
    idle_exit: str | None = None,
    once: bool = False,
    config: Path | None = None,
    log_format: Literal["json", "console"] | None = None,
    log_level: Literal["debug", "info", "warning", "error"] | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Join control planes as a worker on this machine, and work until stopped.

    Ctrl-C or SIGTERM: it takes nothing new, and finishes what it runs.

    Args:
        join: Join string, of 'taskyard worker token NAME'; also from TASKYARD_JOIN.
        join_file: File that holds it: others see what is on a command line.
        data: Data directory, one for each worker.
        tag: A tag that placement can ask for; repeatable.
        slots: Maximum number of tasks that it runs at once.
        cpu: Cores it offers.
        memory: Memory it offers, such as 4GiB.
        drain: How long what runs gets to end when it is stopped, such as 5m; 30s by default.
        lifetime: Leave after so long, such as 55m: it takes nothing that may run for longer than is
            left of that, and drains at its end.
        idle_exit: Leave after so long without anything to run, such as 5m.
        once: Take one task, and leave when it has ended.
        config: Configuration file.
        log_format: Log format.
        log_level: Lowest level to log.
        as_json: Print a line of JSON once it has joined.
    """
    if once and slots not in (None, 1):
        raise UsageError("--once: takes one task in all, so --slots cannot be more")
    stay = Stay(_longer(lifetime, "--lifetime"), _longer(idle_exit, "--idle-exit"), once)
    overrides = {
        "data": data,
        "worker_tags": tag or None,
        "worker_slots": 1 if once else slots,
        "worker_cpu": cpu,
        "worker_memory_bytes": None if memory is None else size_bytes(memory, "--memory"),
        "worker_drain_s": None if drain is None else seconds(drain, "--drain"),
        "log_format": log_format,
        "log_level": log_level,
    }
    given = {name: value for name, value in overrides.items() if value is not None}
    return join_and_work(_join_text(join, join_file), config, given, stay, as_json=as_json)


def _longer(text: str | None, flag: str) -> float | None:
    """Seconds, more than none. Raises ``UsageError``."""
    found = None if text is None else seconds(text, flag)
    if found is not None and not 0 < found <= _LONGEST_S:
        raise UsageError(f"{flag}: has to be more than 0 and at most ten years")
    return found


def _join_text(join: str | None, join_file: Path | None) -> str:
    """The join string as it was given. Raises ``UsageError``."""
    if join is not None and join_file is not None:
        raise UsageError("give either --join or --join-file")
    if join_file is not None:
        try:
            text = join_file.read_text("utf-8")
            mode = join_file.stat().st_mode
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--join-file: {join_file} cannot be read: {error}") from error
        # Not the group: access lists of systemd's credentials show there.
        if mode & stat.S_IROTH:
            note(
                f"taskyard: other users can read {join_file}, and so run a worker in this one's"
                f" place; keep it from them with: chmod 600 {shlex.quote(str(join_file))}"
            )
        return text
    found = join or os.environ.get("TASKYARD_JOIN")
    if not found:
        raise UsageError(
            "to join, give a join string with --join, --join-file or TASKYARD_JOIN; make one on a"
            " control plane with: taskyard worker token NAME"
        )
    return found


@app.command
def manifest(
    *,
    scheduler: Annotated[Scheduler, Parameter(name="--for")],
    name: str = DEFAULTS.name,
    image: str = DEFAULTS.image,
    program: str = DEFAULTS.program,
    workers: int = DEFAULTS.workers,
    cpu: int = DEFAULTS.cpu,
    memory: str = "4GiB",
    walltime: str = "1h",
    drain: str = "5m",
    server: str | None = None,
    group: str = DEFAULTS.group,
) -> None:
    """Print the file with which another scheduler starts workers.

    Join strings are not in it: each worker finds its own in a file, or a secret of the scheduler.

    Args:
        scheduler: Which scheduler.
        name: Name of the job; the workers' names begin with it, but for Nomad's.
        image: Image with the program, for Kubernetes and Nomad.
        program: Path of the program, for systemd and Slurm.
        workers: How many, for Slurm and Kubernetes.
        cpu: Cores of each worker.
        memory: Memory of each worker, such as 4GiB.
        walltime: For how long Slurm lets a worker run.
        drain: How long what runs gets to end once a worker is stopped.
        server: Address of the API. With it, KEDA has Kubernetes run as many workers as are wanted.
        group: Group whose tasks those are.
    """
    wanted = Wanted(
        name,
        image,
        program,
        workers,
        cpu,
        size_bytes(memory, "--memory"),
        seconds(walltime, "--walltime"),
        seconds(drain, "--drain"),
        server,
        group,
    )
    say(manifest_for(scheduler, wanted).rstrip("\n"))


@app.command
@client_command
def ls(client: Client) -> Printed:
    """List workers with their capacity and usage; --json says why a runtime is unavailable."""
    return table(
        client.workers(),
        {
            "WORKER": lambda worker: worker.id,
            "STATE": lambda worker: coloured(worker.state),
            "HOST": lambda worker: worker.hostname,
            "SLOTS>": lambda worker: f"{worker.used.slots}/{worker.capacity.slots}",
            "CPU>": lambda worker: f"{worker.used.cpu:g}/{worker.capacity.cpu:g}",
            "MEMORY>": _memory,
            "RUNTIMES": lambda worker: ", ".join(worker.runtimes),
            "UNAVAILABLE": lambda worker: ", ".join(worker.unavailable),
            "SEEN": lambda worker: format_moment(worker.beat_at),
        },
    )


@app.command
@client_command
def scaling(client: Client, group: str, *, slots: int = 1, tag: str | None = None) -> Printed:
    """Show how many workers the tasks of a group want, as autoscalers ask for it.

    Args:
        group: Name of the group.
        slots: Slots of one worker.
        tag: Only tasks that ask for this tag.
    """
    found = client.scaling(group, slots, tag)
    everything = [("all", found.waiting, found.running, found.wanted)]
    rows = [(one.tag or "without", one.waiting, one.running, one.wanted) for one in found.tags]
    shown = table(
        everything + rows,
        {
            "TAG": lambda row: row[0],
            "WAITING>": lambda row: row[1],
            "RUNNING>": lambda row: row[2],
            "WANTED>": lambda row: row[3],
        },
    )
    return Printed(found, shown.show)


@app.command
@client_command
def drain(
    client: Client, worker_id: str, *, wait: bool = False, timeout: str | None = None
) -> Printed:
    """Place no new tasks on a worker; running ones continue.

    Args:
        worker_id: Id of the worker.
        wait: Return once nothing runs there any more, or the worker is gone.
        timeout: Wait for no longer than this, such as 10m; then the exit status is 75.
    """
    limit_s = None if timeout is None else seconds(timeout, "--timeout")
    worker = client.drain(worker_id)
    return _facts(_drained(client, worker, limit_s) if wait else worker)


def _drained(client: Client, worker: Worker, limit_s: float | None) -> Worker:
    """The worker once it is idle or gone. Raises ``CommandError`` if that takes too long."""
    give_up_at = None if limit_s is None else time.monotonic() + limit_s
    while True:
        # A drain may come between a placement and its count: only a later look is to be trusted.
        if give_up_at is not None and time.monotonic() >= give_up_at:
            raise CommandError(
                f"worker {worker.id} still runs tasks; slots in use: {worker.used.slots}",
                exit_status.TRY_AGAIN,
                what_to_do="It stays drained. Wait again, or cancel what runs there.",
            )
        time.sleep(_POLL_S)
        here = [one for one in client.workers() if one.id == worker.id]
        if not here:
            return worker
        worker = here[0]
        if not (worker.used.slots or worker.used.cpu or worker.used.memory_bytes):
            return worker


@app.command
@client_command
def undrain(client: Client, worker_id: str) -> Printed:
    """Let a worker take tasks again.

    Args:
        worker_id: Id of the worker.
    """
    return _facts(client.undrain(worker_id))


@app.command
def token(
    name: str,
    *,
    tag: list[str] | None = None,
    expires: str | None = None,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Create the credential of a worker on another machine; prints its join string, this once.

    The output is the bare string, for a file that ``--join-file`` reads; JSON only with ``--json``.

    Args:
        name: The worker's id: a-z, 0-9 and -.
        tag: A tag that the worker has; repeatable.
        expires: Lifetime, such as 30d; unlimited by default.
        connection: Which server.
    """
    expires_in_s = None if expires is None else seconds(expires, "--expires")
    with connection.open() as client:
        made = client.create_worker_token(name, tag or (), expires_in_s)
    if connection.json:
        print_json(made)
    else:
        say(made.join or "")
        note("Keep it safe: it is not shown again. Who has it runs tasks, and sees their secrets.")


@app.command
@client_command
def tokens(client: Client) -> Printed:
    """List the credentials of workers on other machines, without their secrets."""
    return table(
        list(client.worker_tokens()),
        {
            "WORKER": lambda token: token.name,
            "TAGS": lambda token: ", ".join(token.tags),
            "CREATED": lambda token: format_moment(token.created_at),
            "BY": lambda token: token.created_by,
            "EXPIRES": lambda token: format_moment(token.expires_at),
            "SEEN": lambda token: format_moment(token.last_seen_at),
            "REVOKED": lambda token: format_moment(token.revoked_at),
        },
    )


@app.command
@client_command
def revoke(client: Client, name: str) -> Printed:
    """Revoke a credential: its worker is cut off, and what it runs goes elsewhere.

    Args:
        name: The worker's id, see 'taskyard worker tokens'.
    """
    client.revoke_worker_token(name)
    return lines({"revoked": name}, [f"revoked {name}"])


def _memory(worker: Worker) -> str:
    return f"{format_size(worker.used.memory_bytes)}/{format_size(worker.capacity.memory_bytes)}"


def _facts(worker: Worker) -> Printed:
    usage = f"{worker.used.slots} of {worker.capacity.slots} slots"
    return facts(worker, [("worker", worker.id), ("state", worker.state), ("in use", usage)])
