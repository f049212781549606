"""What the model finds out about single tasks and attempts."""

from taskyard.core.access.redaction import redact_text
from taskyard.core.attempts import Attempt
from taskyard.core.notifications.webhooks import events_of_kind
from taskyard.core.resources import Resources
from taskyard.core.scheduling.requirements import Requirements, requirements_of
from taskyard.core.tasks import Command, Container, FunctionCall, Task, TaskSpec
from taskyard.ports.store import TaskQuery


def number_of(attempt: Attempt) -> int:
    """Which of its task's it is."""
    return attempt.number


def bare_text(text: str) -> str:
    """Without quotes and backslashes, in one line."""
    for mark in "'\"\\":
        text = text.replace(mark, "")
    return text.replace("\n", " ").replace("\t", " ")


def matches(task: Task, query: TaskQuery) -> bool:
    """Whether a query describes a task."""
    spec = task.spec
    command = ""
    if isinstance(spec.work, Command):
        command = spec.work.shell or " ".join(spec.work.argv)
    elif isinstance(spec.work, Container):
        command = f"[{spec.work.image}] {' '.join(spec.work.args)}"
    elif isinstance(spec.work, FunctionCall):
        command = spec.work.function
    texts = (spec.name or "", spec.group, task.id)
    wanted = (query.text or "").lower()
    words = bare_text(wanted)
    behind = query.after_seq is None or (
        task.seq > query.after_seq if query.oldest_first else task.seq < query.after_seq
    )
    return (
        behind
        and task.workspace == query.workspace
        and (not query.states or task.state in query.states)
        and (query.group is None or spec.group == query.group)
        and all(spec.labels.get(key) == value for key, value in query.labels.items())
        and (
            any(wanted in text.lower() and wanted in redact_text(text).lower() for text in texts)
            or (
                words != ""
                and words in bare_text(command).lower()
                and words in bare_text(redact_text(command)).lower()
            )
            or not wanted
        )
        and (query.created_after is None or task.created_at >= query.created_after)
        and (query.created_before is None or task.created_at < query.created_before)
        and (query.schedule_id is None or task.schedule_id == query.schedule_id)
    )


def deliveries_of(task: Task, kind: str) -> int:
    """Webhook messages that a change gives rise to."""
    events = events_of_kind(kind)
    return sum(event in webhook.events for webhook in task.spec.webhooks for event in events)


def stored_demand(spec: TaskSpec) -> Requirements:
    """What the store knows of a demand: all of an unusual one, cores and memory of any other."""
    requirements = requirements_of(spec)
    asked = spec.resources
    return (
        Requirements(Resources(asked.cpu_millis, asked.memory_bytes))
        if requirements.is_plain
        else requirements
    )
