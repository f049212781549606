"""Creating a container: its image, its volumes, and the request to the engine."""

from typing import Any

import anyio
from anyio import to_thread
from msgspec.structs import replace

from taskyard.core.errors import InvalidInput
from taskyard.core.image_name import parse_image
from taskyard.core.resources import Resources
from taskyard.core.states import Reason
from taskyard.core.tasks import Container, PullPolicy
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.container.context import RuntimeContext
from taskyard.runtimes.container.output import Output
from taskyard.runtimes.container.request import Surroundings, container_name, creation
from taskyard.runtimes.container.volumes import binds, real_devices
from taskyard.runtimes.engine.container_state import ContainerState, finding
from taskyard.runtimes.engine.credentials import auth_header
from taskyard.runtimes.engine.diagnosis import Probe, reason_of_refusal
from taskyard.runtimes.engine.errors import CannotRun, EngineRefused, EngineUnreachable
from taskyard.runtimes.engine.identity import ATTEMPT_LABEL, INSTALLATION_LABEL
from taskyard.runtimes.engine.pulling import pull


async def allowed(
    context: RuntimeContext, work: Container, held: Resources
) -> tuple[Container, list[str]]:
    """The container as this worker's operator allows it, and its volumes for the engine.

    Asked again before each start: what was true when the task was accepted need not be now.
    Raises :class:`CannotRun`.
    """
    try:
        context.rule.check(work, held)
    except InvalidInput as error:
        raise CannotRun(str(error)) from error
    work = context.rule.effective(work)
    if not context.engine.address.is_local:
        if work.volumes:
            raise CannotRun("volumes need a container engine on the worker's own machine")
        return work, []
    if work.devices:
        devices = await to_thread.run_sync(real_devices, work.devices, context.rule.devices)
        work = replace(work, devices=devices)
    mounts = await to_thread.run_sync(binds, work.volumes, context.volumes, context.protected)
    return work, mounts


class Creation:
    """The making of one attempt's container, which is not started yet."""

    def __init__(
        self, assignment: Assignment, work: Container, output: Output, context: RuntimeContext
    ) -> None:
        self._assignment = assignment
        self._work = work
        self._output = output
        self._context = context
        self._name = container_name(assignment.attempt_id)
        self._scope = anyio.CancelScope()
        self._is_creating = False
        self._is_stopped = False

    def stop(self) -> None:
        """Make nothing more. What the engine is making just now it is let finish.

        Podman's records suffer from a removal in the middle, and any engine may finish what nobody
        waits for any more after it was said that there is nothing.
        """
        self._is_stopped = True
        if not self._is_creating:
            self._scope.cancel()

    async def run(self) -> ContainerState | None:
        """The container; None if it was stopped before there was one.

        Raises :class:`CannotRun`, and ``OSError`` for the output files.
        """
        with self._scope:
            return await self._run()
        return None

    async def _run(self) -> ContainerState | None:
        context = self._context
        self._output.begin()
        work, mounts = await allowed(context, self._work, self._assignment.resources)
        try:
            image = parse_image(work.image)
        except InvalidInput as error:
            raise CannotRun(str(error)) from error
        auth = None
        if self._assignment.registry_credentials is not None:
            auth = auth_header(self._assignment.registry_credentials, image)
        must_pull, pulled = work.pull is PullPolicy.ALWAYS, False
        while True:
            if must_pull:
                await pull(
                    context.engine,
                    image,
                    auth=auth,
                    timeout_s=work.pull_timeout_s,
                    remark=self._output.remark,
                )
                pulled = True
            body = creation(
                self._assignment,
                work,
                image,
                Surroundings(
                    installation=context.installation,
                    boot=context.boot,
                    is_podman=context.is_podman,
                    network=context.network,
                    binds=mounts,
                    stderr_prefix_bytes=self._output.stderr_prefix_bytes,
                    rule=context.rule,
                ),
            )
            self._is_creating = True
            try:
                found = await self._create(body)
            finally:
                self._is_creating = False
            if self._is_stopped:
                return found
            if found is not None:
                await context.used(image, pulled=pulled)
                return found
            if work.pull is PullPolicy.NEVER:
                raise CannotRun(f"image {image} is not on the engine, and its pull policy is never")
            if must_pull:
                raise CannotRun(f"image {image} was pulled, but the engine does not have it")
            must_pull = True

    async def _create(self, body: dict[str, Any]) -> ContainerState | None:
        """The container; None if the engine does not have its image. Raises :class:`CannotRun`."""
        engine, problem = self._context.engine, CannotRun("was not tried")
        for _ in range(2):
            try:
                answer = await engine.call(
                    "POST", "/containers/create", body=body, params={"name": self._name}
                )
                return _fresh(str(answer["Id"]), body["Labels"])
            except EngineRefused as error:
                if error.status == 404 and not await self._has_image(body["Image"]):
                    return None
                inspected = await self._try_inspect()
                if inspected is not None:
                    return inspected
                reason = await reason_of_refusal(
                    engine, error, probe_of(self._context, self._assignment, self._work)
                )
                problem = CannotRun(f"cannot be created: {error}", reason)
                if error.status < 500 or reason is Reason.RUNTIME_TROUBLE:
                    raise problem from error
                # Once more, as trouble may have passed while its cause was looked for.
            except EngineUnreachable as error:
                # A connection kept from before the engine was started again looks like this too.
                problem = CannotRun(
                    f"the container engine is away: {error}", Reason.RUNTIME_TROUBLE
                )
                inspected = await self._try_inspect()
                if inspected is not None:
                    return inspected
        raise problem

    async def _has_image(self, image: str) -> bool:
        try:
            return await self._context.engine.has_image(image)
        except (EngineUnreachable, EngineRefused):
            return True

    async def _try_inspect(self) -> ContainerState | None:
        try:
            inspected = await self._context.engine.inspect(self._name)
        except (EngineUnreachable, EngineRefused):
            return None
        found = None if inspected is None else finding(inspected)
        mine = found is not None and found.labels.get(ATTEMPT_LABEL) == self._assignment.attempt_id
        return found if mine else None


def _fresh(container_id: str, labels: dict[str, str]) -> ContainerState:
    return ContainerState(container_id, False, None, None, 0, False, 0, labels)


def probe_of(context: RuntimeContext, assignment: Assignment, work: Container) -> Probe:
    """What to try out in place of an attempt's container."""
    labels = {ATTEMPT_LABEL: assignment.attempt_id, INSTALLATION_LABEL: context.installation}
    name = f"{container_name(assignment.attempt_id)}-probe"
    return Probe(name, str(parse_image(work.image)), work.network or context.network, labels)
