"""Turns a placed attempt into everything its worker needs, secrets included."""

import base64
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from taskyard.core.access.container_rule import ContainerRule
from taskyard.core.access.work_identity import SERVER, Identity, UserRule
from taskyard.core.attempts import Attempt
from taskyard.core.errors import Conflict, InvalidInput, NotFound, Unavailable
from taskyard.core.functions.functions import FunctionId
from taskyard.core.ids import WorkspaceName
from taskyard.core.resources import Resources
from taskyard.core.tasks import (
    Command,
    Container,
    FunctionCall,
    SecretRef,
    Task,
    Work,
    environment_of,
    with_environment,
)
from taskyard.ports.runtime import Assignment
from taskyard.services.access.identities import Identities
from taskyard.services.access.secrets import Secrets
from taskyard.services.scheduling.output_quota import OutputQuota

LiveVersion = Callable[[WorkspaceName, FunctionId], Awaitable[tuple[int | None, bool]]]
"""Which version of a function calls use, None if there is none, and whether it is an image."""
Blob = Callable[[FunctionId], Awaitable[bytes | None]]


class NothingToRun(Conflict):
    """What the task names is not there any more, or not allowed any more."""


class Assignments:
    """Builds assignments; what it returns is never stored or logged."""

    def __init__(
        self,
        secrets: Secrets,
        log_limit_bytes: int,
        identities: Identities | None = None,
        users: UserRule = UserRule(),  # noqa: B008 - frozen
        containers: ContainerRule = ContainerRule(),  # noqa: B008 - frozen
        output: OutputQuota | None = None,
    ) -> None:
        """Prepare.

        Args:
            secrets: where references in environments are resolved.
            log_limit_bytes: kept of each stream when the task does not say.
            identities: as whom the work of workspaces runs; the server itself when None.
            users: whom tasks may ask to run as.
            containers: what containers may be given.
            output: what their output may take; no quotas when None.
        """
        self._identities = identities or Identities()
        self._users = users
        self._containers = containers
        self._output = output
        self._secrets = secrets
        self.live_version: LiveVersion = _no_version
        """For calls that are bound to no version."""
        self.blob: Blob = _no_blob
        self._log_limit_bytes = log_limit_bytes

    async def build(self, task: Task, attempt: Attempt, *, lenient: bool = False) -> Assignment:
        """The assignment of an attempt at a task.

        ``lenient`` leaves secrets out that cannot be had, for work that runs already.

        Raises:
            NotFound: the task refers to a secret that its workspace does not have.
            NothingToRun: it calls a function that is not there, or has no code; or it asks for a
                user that it may not run as, or for something that its container may not have.
            Conflict: there is no user left for its workspace, or the operator does not let it run.
            Unavailable: secrets cannot be read now.
        """
        spec, work = task.spec, task.spec.work
        if isinstance(work, Command) and work.user is not None:
            work = self._as_its_user(task.workspace, work, work.user, lenient=lenient)
        if isinstance(work, Container):
            work = self._allowed(work, spec.resources, lenient=lenient)
        if isinstance(work, FunctionCall) and work.version is None:
            version, image = await self.live_version(task.workspace, work.function_id)
            if version is None and not lenient:
                raise NothingToRun(f"the function {work.function!r} is not there, or has no code")
            work = replace(work, version=version, image=image)
        if isinstance(work, FunctionCall) and work.blob_header:
            work = await self._with_blob(work)
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
            log_limit_bytes=await self._log_limit(task, attempt, lenient=lenient),
            strict=spec.strict,
            identity=await self._identity(task, work),
            sandbox=self._identities.sandbox_of(task.workspace),
            registry_credentials=None if credentials is None else values.get(credentials),
        )

    async def _log_limit(self, task: Task, attempt: Attempt, *, lenient: bool) -> int:
        """What each of its streams may keep; of what runs already, what it said at the start."""
        own = task.spec.log_limit_bytes
        limit = self._log_limit_bytes if own is None else own
        if self._output is None or lenient:
            return limit
        return await self._output.limit(task.workspace, task.id, attempt.number, limit)

    async def _identity(self, task: Task, work: Work) -> Identity:
        """Which user commands and functions run as; containers do not use it."""
        is_function = isinstance(work, FunctionCall) and not work.image
        if is_function:
            self._identities.admit(task.workspace, functions=True)
        if is_function or isinstance(work, Command):
            return await self._identities.of(task.workspace)
        return SERVER

    def _as_its_user(
        self, workspace: WorkspaceName, work: Command, user: str, *, lenient: bool
    ) -> Command:
        """The command as the user that it may have. Raises ``NothingToRun``, unless ``lenient``."""
        try:
            self._users.check(user)
        except InvalidInput as error:
            # Stored while another setting was in force.
            if not lenient:
                raise NothingToRun(str(error)) from error
        if self._identities.rules.of(workspace).user == "server":
            return work  # It has no user of its own that could stand for nobody.
        return replace(work, user=self._users.effective(user))

    def _allowed(self, work: Container, resources: Resources, *, lenient: bool) -> Container:
        """The container as it may be. Raises ``NothingToRun``, unless ``lenient``."""
        try:
            self._containers.check(work, resources)
        except InvalidInput as error:
            # Stored while another setting was in force.
            if not lenient:
                raise NothingToRun(str(error)) from error
        return self._containers.effective(work)

    async def _with_blob(self, work: FunctionCall) -> FunctionCall:
        """The call with what its function keeps, as it is now."""
        blob = await self.blob(work.function_id)
        if blob is None:
            return work
        pair = (work.blob_header, base64.b64encode(blob).decode())
        request = replace(work.request, headers=(*work.request.headers, pair))
        return replace(work, request=request)


async def _no_version(
    _workspace: WorkspaceName, _function_id: FunctionId
) -> tuple[int | None, bool]:
    return None, False


async def _no_blob(_function_id: FunctionId) -> bytes | None:
    return None
