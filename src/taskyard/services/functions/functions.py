"""Functions: deploy, build, roll back, pause, delete, restore.

A deploy is on disk before it is answered: the bundle first, then the version. Builds run behind
it, those of one function one after another in the order of their versions; one that fails leaves
the version before it live. A build that a crash cut off is begun again.
"""

from typing import Final

import anyio

from taskyard.core.access.principals import AuditEntry, Caller, Role
from taskyard.core.errors import Conflict, InvalidInput, NotFound
from taskyard.core.functions.functions import BuildState, Function, FunctionId, Version
from taskyard.core.functions.resources import new_id
from taskyard.core.ids import PlaneId, WorkspaceName
from taskyard.core.states import TaskState
from taskyard.ports.clock import Clock
from taskyard.ports.functions import Builder, BundleStore, FunctionChange, FunctionStore
from taskyard.ports.store import TaskQuery, TaskStore
from taskyard.ports.workspaces import GroupStore
from taskyard.services.access.audit import Audit
from taskyard.services.access.identities import Identities
from taskyard.services.access.permissions import require
from taskyard.services.functions.builds import BuildLimits, Builds
from taskyard.services.functions.deployments import (
    NAME,
    Deployment,
    check_deployment,
    check_limits,
    language_of,
)
from taskyard.services.functions.known_functions import CallTarget, KnownFunctions
from taskyard.services.functions.version_builder import BuildLog, ImagePuller, VersionBuilder
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.tasks.tasks import Tasks

_DELETE_BATCH: Final = 500
_UNBUILT: Final = frozenset({BuildState.PENDING, BuildState.BUILDING})
_POLL_S: Final = 0.25
"""Seconds between two looks at a version that another control plane builds."""


class Functions:
    """Everything a caller may do with functions of its workspace, calls aside."""

    def __init__(
        self,
        store: FunctionStore,
        bundles: BundleStore,
        builder: Builder,
        tasks: Tasks,
        task_store: TaskStore,
        groups: GroupStore,
        dispatch: Dispatch,
        audit: Audit,
        clock: Clock,
        images: ImagePuller | None = None,
        build_limits: BuildLimits = BuildLimits(),  # noqa: B008 - frozen
        identities: Identities | None = None,
        plane: PlaneId | None = None,
    ) -> None:
        """Prepare; without ``identities`` builds run as the server itself.

        ``plane`` names this control plane among several; None if there is only one.
        """
        self._store = store
        self._bundles = bundles
        self._identities = identities or Identities()
        self._version_builder = VersionBuilder(bundles, builder, images, self._identities)
        self._tasks = tasks
        self._task_store = task_store
        self._groups = groups
        self._dispatch = dispatch
        self._audit = audit
        self._clock = clock
        self._known = KnownFunctions(store, is_shared=plane is not None)
        self._builds = Builds(
            store, self._version_builder, builder, clock, self._known.refresh, build_limits, plane
        )

    async def load(self) -> None:
        """Load the stored functions: before anything else, and when others changed some.

        Raises as the store does.
        """
        await self._known.load()

    async def run(self) -> None:
        """Build until cancelled, beginning with what an earlier process left unbuilt."""
        await self._builds.run()

    async def rebuild(self, workspace: WorkspaceName, function_id: FunctionId, number: int) -> bool:
        """Build a version again that calls cannot use; see :meth:`.Builds.rebuild`."""
        return await self._builds.rebuild(workspace, function_id, number)

    async def find(self, workspace: WorkspaceName, key: str) -> Function:
        """By name or id. Raises ``NotFound``, also for a deleted one."""
        return await self._known.find(workspace, key)

    async def target(
        self, workspace: WorkspaceName, key: str, version: int | None = None
    ) -> CallTarget:
        """What a call runs: this version, or the one that is live now. Raises ``NotFound``."""
        return await self._known.target(workspace, key, version)

    async def live_version(
        self, workspace: WorkspaceName, function_id: FunctionId
    ) -> tuple[int | None, bool]:
        """Which version new calls use, and whether it is an image; None without a version."""
        try:
            _, version, is_image = await self.target(workspace, function_id)
        except NotFound:
            return None, False
        return version, is_image

    async def stored(self, workspace: WorkspaceName, key: str) -> Function:
        """By name or id; also one that is deleted, by its id. Raises ``NotFound``."""
        return await self._store.function(workspace, key)

    async def page(
        self,
        caller: Caller,
        after: str | None,
        limit: int,
        *,
        tag: str | None = None,
        deleted: bool = False,
        newest_first: bool = False,
    ) -> list[Function]:
        """In order of creation, to the second, behind the function with id ``after``."""
        where, order = caller.workspace, newest_first
        return await self._store.functions(
            where, after=after, limit=limit, tag=tag, deleted=deleted, newest_first=order
        )

    async def deploy(
        self, caller: Caller, name: str, deployment: Deployment
    ) -> tuple[Function, Version]:
        """Store a new version, of a new function if there is none, and begin to build it.

        Raises:
            NotAllowed: the caller may not write.
            InvalidInput: something breaks a rule.
            Conflict: the workspace may not be served, or its functions not, beside others.
            Overloaded: too many builds of the workspace are waiting.
            StorageFull: nothing was stored.
        """
        require(caller, Role.WRITE)
        if not NAME.match(name):
            raise InvalidInput(
                "name", "must be 1 to 128 letters, digits, dots, dashes or underscores"
            )
        check_deployment(deployment)
        self._identities.admit(caller.workspace, functions=not deployment.image)
        with self._builds.admitted(caller.workspace):
            return await self._deploy(caller, name, deployment)

    async def _deploy(
        self, caller: Caller, name: str, deployment: Deployment
    ) -> tuple[Function, Version]:
        now = self._clock.now()
        known = await self._known.get(caller.workspace, name)
        language = language_of(deployment, known)
        bundle = "" if deployment.image else await self._bundles.put(deployment.bundle)
        if known is None:
            new = Function(
                id=FunctionId(new_id(now)),
                workspace=caller.workspace,
                name=name,
                language=language,
                created_at=now,
                updated_at=now,
            )
            try:
                known = await self.create(caller, new)
            except Conflict:
                # Somebody else deployed it for the first time, too, a moment ago.
                known = self._known.know(await self._store.function(caller.workspace, name))
        change = FunctionChange(
            title=deployment.title,
            description=deployment.description,
            tags=deployment.tags,
            limits=deployment.limits,
        )
        if change != FunctionChange():
            known = self._known.know(
                await self._store.change(caller.workspace, known.id, change, now)
            )
        version = await self._store.add_version(
            Version(
                function_id=known.id,
                number=0,
                state=BuildState.PENDING,
                bundle=bundle,
                size_bytes=len(deployment.bundle),
                language=language,
                handler=deployment.handler,
                entry=deployment.entry,
                dependencies=deployment.dependencies,
                created_at=now,
                created_by=caller.actor,
                image=deployment.image,
                credentials=deployment.credentials,
            ),
            self._audit.entry(caller, "function.deploy", name),
        )
        self._known.know_version(version)
        self._builds.enqueue(caller.workspace, version)
        function = self._known.know(await self._store.function(caller.workspace, known.id))
        return function, version

    async def create(self, caller: Caller, function: Function) -> Function:
        """Store a function without code. Raises ``NotAllowed``, ``Conflict``."""
        require(caller, Role.WRITE)
        return self._known.know(await self._store.create(function))

    async def change(self, caller: Caller, key: str, change: FunctionChange) -> Function:
        """Change what describes and limits a function. Raises ``NotFound``, ``NotAllowed``."""
        require(caller, Role.WRITE)
        function = await self.find(caller.workspace, key)
        if change.limits is not None:
            check_limits(change.limits)
        return await self._changed(function, change)

    async def _changed(
        self, function: Function, change: FunctionChange, audit: AuditEntry | None = None
    ) -> Function:
        new = await self._store.change(
            function.workspace, function.id, change, self._clock.now(), audit
        )
        # Until now calls went on with what it was; its old name is nobody's from here on.
        self._known.forget(function)
        return self._known.know(new)

    async def roll_back(self, caller: Caller, key: str, number: int | None = None) -> Function:
        """Let new calls use another version: this one, or the ready one before the live one.

        Raises ``NotFound``, ``NotAllowed``, ``Conflict`` if the version was not built.
        """
        require(caller, Role.WRITE)
        function = await self.find(caller.workspace, key)
        if number is None:
            number = await self._before(function)
        version = await self._store.version(caller.workspace, function.id, number)
        # Source that is ready and not on disk is built again when it is called.
        is_lost = bool(version.image) and not await self._version_builder.is_made(version)
        if version.state is not BuildState.READY or is_lost:
            raise Conflict(f"version {number} is {version.state.value}; deploy it again")
        change = FunctionChange(live_version=number, language=version.language)
        told = f"to {number}"
        entry = self._audit.entry(caller, "function.rollback", function.name, detail=told)
        return await self._changed(function, change, entry)

    async def _before(self, function: Function) -> int:
        before = function.live_version
        for one in await self._store.versions(function.workspace, function.id, before, 100):
            if one.state is BuildState.READY:
                return one.number
        raise Conflict("there is no earlier version to go back to")

    async def pause(self, caller: Caller, key: str, *, paused: bool) -> Function:
        """Refuse new calls and leave queued ones waiting; or the other way round.

        Raises ``NotFound``, ``NotAllowed``.
        """
        require(caller, Role.WRITE)
        function = await self.find(caller.workspace, key)
        action = "function.pause" if paused else "function.resume"
        entry = self._audit.entry(caller, action, function.name)
        new = await self._changed(function, FunctionChange(paused=paused), entry)
        await self._groups.set_group(caller.workspace, new.group, paused=paused)
        await self._dispatch.limits_changed()
        return new

    async def delete(self, caller: Caller, key: str) -> None:
        """Make it unknown; waiting calls are cancelled, running ones go on, results stay.

        Raises ``NotFound``, ``NotAllowed``.
        """
        require(caller, Role.WRITE)
        function = await self.find(caller.workspace, key)
        entry = self._audit.entry(caller, "function.delete", function.name, detail=str(function.id))
        await self._store.set_deleted(caller.workspace, function.id, True, self._clock.now(), entry)
        self._known.forget(function)
        waiting = frozenset({TaskState.QUEUED, TaskState.SCHEDULED, TaskState.RETRYING})
        while True:
            page = await self._task_store.list_tasks(
                TaskQuery(
                    workspace=caller.workspace,
                    states=waiting,
                    group=function.group,
                    limit=_DELETE_BATCH,
                )
            )
            if page.tasks:
                await self._tasks.cancel(caller, [task.id for task in page.tasks])
            if page.next_seq is None:
                return

    async def restore(self, caller: Caller, function_id: str) -> Function:
        """Bring a deleted function back, by its id. Raises ``NotFound``, ``Conflict``.

        See :meth:`deleted_id` for its name.
        """
        require(caller, Role.WRITE)
        entry = self._audit.entry(caller, "function.restore", detail=function_id)
        new = await self._store.set_deleted(
            caller.workspace, FunctionId(function_id), False, self._clock.now(), entry
        )
        return self._known.know(new)

    async def deleted_id(self, caller: Caller, key: str) -> str:
        """The id of a deleted function by its name: of several, the one that was made last.

        Answers with ``key`` itself if no deleted function has that name; it may be an id.
        """
        after: str | None = None
        while page := await self.page(caller, after, 500, deleted=True, newest_first=True):
            for function in page:
                if function.name == key:
                    return function.id
            after = page[-1].id
        return key

    async def versions(
        self, caller: Caller, key: str, before: int | None, limit: int
    ) -> list[Version]:
        """Newest first, below number ``before``. Raises ``NotFound``."""
        function = await self.find(caller.workspace, key)
        found = await self._store.versions(caller.workspace, function.id, before, limit)
        return [self._builds.settled(one) for one in found]

    async def version(self, caller: Caller, key: str, number: int) -> Version:
        """Raises ``NotFound``."""
        function = await self.find(caller.workspace, key)
        found = await self._store.version(caller.workspace, function.id, number)
        return self._builds.settled(found)

    async def log(self, caller: Caller, key: str, number: int) -> BuildLog:
        """The log of a build, which may still grow. Raises ``NotFound``."""
        function = await self.find(caller.workspace, key)
        growing = self._builds.log(function.id, number)
        if growing is not None:
            return growing
        text = await self._store.build_log(caller.workspace, function.id, number)
        if text is None and self._builds.is_shared:
            version = await self._store.version(caller.workspace, function.id, number)
            if version.state in _UNBUILT:
                text = "another control plane builds it; the log is here once that has ended\n"
        return BuildLog.ended(text or "")

    async def built(self, caller: Caller, key: str, number: int, timeout_s: float) -> Version:
        """The version once its build has ended, or as it is after ``timeout_s``."""
        function = await self.find(caller.workspace, key)
        growing = self._builds.log(function.id, number)
        with anyio.move_on_after(timeout_s):
            if growing is not None:
                await growing.finished.wait()
                return await self.version(caller, function.id, number)
            # Whoever else builds it says so in the store when that has ended.
            while (await self.version(caller, function.id, number)).state in _UNBUILT:
                await self._clock.sleep(_POLL_S)
        return await self.version(caller, function.id, number)
