"""Turns a placed attempt into everything its worker needs, secrets included."""

from taskyard.core.attempts import Attempt
from taskyard.core.errors import NotFound, Unavailable
from taskyard.core.tasks import Container, SecretRef, Task, environment_of, with_environment
from taskyard.ports.runtime import Assignment
from taskyard.services.secrets import Secrets


class Assignments:
    """Builds assignments; what it returns is never stored or logged."""

    def __init__(self, secrets: Secrets, log_limit_bytes: int) -> None:
        """Prepare.

        Args:
            secrets: where references in environments are resolved.
            log_limit_bytes: kept of each stream when the task does not say.
        """
        self._secrets = secrets
        self._log_limit_bytes = log_limit_bytes

    async def build(self, task: Task, attempt: Attempt, *, lenient: bool = False) -> Assignment:
        """The assignment of an attempt at a task.

        ``lenient`` leaves secrets out that cannot be had, for work that runs already.

        Raises:
            NotFound: the task refers to a secret that its workspace does not have.
            Unavailable: secrets cannot be read now.
        """
        spec, work = task.spec, task.spec.work
        asked = environment_of(work)
        names = {value.secret for value in asked.values() if isinstance(value, SecretRef)}
        credentials = work.credentials if isinstance(work, Container) else None
        if credentials is not None:
            names.add(credentials)
        values: dict[str, str] = {}
        if names:
            try:
                values = await self._secrets.resolve(task.workspace, names)
            except (NotFound, Unavailable):
                if not lenient:
                    raise
            env: dict[str, str | SecretRef] = {
                name: values[value.secret] if isinstance(value, SecretRef) else value
                for name, value in asked.items()
                if not isinstance(value, SecretRef) or value.secret in values
            }
            work = with_environment(work, env)
        limit = spec.log_limit_bytes
        return Assignment(
            attempt_id=attempt.id,
            task_id=task.id,
            workspace=task.workspace,
            group=spec.group,
            number=attempt.number,
            lease_token=attempt.lease_token,
            assigned_at=attempt.assigned_at,
            work=work,
            resources=attempt.resources,
            timeout_s=spec.timeout_s,
            kill_signal=spec.kill_signal,
            kill_grace_s=spec.kill_grace_s,
            log_limit_bytes=self._log_limit_bytes if limit is None else limit,
            registry_credentials=None if credentials is None else values.get(credentials),
        )
