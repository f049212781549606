"""Jobs, groups, workers, webhooks, credentials, secrets, and the server itself."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from taskyard.sdk import administration_requests as requests
from taskyard.sdk import models
from taskyard.sdk.aio.base import AsyncBaseClient


class AsyncAdministrationMethods(AsyncBaseClient):
    """The methods of the client for everything but tasks and functions."""

    async def jobs(self) -> tuple[models.Job, ...]:
        """Jobs of other dialects that wait for their time or recur, the next to start first."""
        return (await self._send(requests.jobs())).items

    async def cancel_job(self, job_id: str, group: str) -> models.Job:
        """Let a job start no more, and cancel or kill its last execution."""
        return await self._send(requests.cancel_job(job_id, group))

    def groups(self, limit: int = 500) -> AsyncIterator[models.Group]:
        """All groups in order of name; ``limit`` is the size of a page."""
        return self._pages(lambda cursor: requests.groups(cursor, limit))

    async def group(self, name: str) -> models.Group:
        """One group; a name never heard of has defaults."""
        return await self._send(requests.group(name))

    async def pause(self, group: str) -> models.Group:
        """Start nothing more of a group."""
        return await self._send(requests.pause(group))

    async def resume(self, group: str) -> models.Group:
        """Start tasks of a group again."""
        return await self._send(requests.resume(group))

    async def set_group_limit(self, group: str, limit: int | None) -> models.Group:
        """Limit how many tasks of a group run at once; None for no limit."""
        return await self._send(requests.set_group_limit(group, limit))

    async def workspace(self) -> models.Workspace:
        """The credential's workspace."""
        return await self._send(requests.workspace())

    async def set_workspace_limit(self, limit: int | None) -> models.Workspace:
        """Limit how many tasks of the workspace run at once; None for no limit."""
        return await self._send(requests.set_workspace_limit(limit))

    async def workers(self) -> tuple[models.Worker, ...]:
        """All workers."""
        return await self._send(requests.workers())

    async def cluster(self) -> models.Cluster:
        """The control planes of the installation, and which of them leads."""
        return await self._send(requests.cluster())

    async def scaling(self, group: str, slots: int = 1, tag: str | None = None) -> models.Scaling:
        """How many workers with so many slots a group's tasks want."""
        return await self._send(requests.scaling(group, slots, tag))

    async def parked(self) -> tuple[models.Parked, ...]:
        """What the server could not deal with and put aside, longest first."""
        return await self._send(requests.parked())

    async def drain(self, worker_id: str) -> models.Worker:
        """Place nothing new on a worker; what runs there goes on."""
        return await self._send(requests.drain(worker_id))

    async def undrain(self, worker_id: str) -> models.Worker:
        """Let a worker take tasks again."""
        return await self._send(requests.undrain(worker_id))

    def deliveries(
        self, state: str | None = None, limit: int = 500
    ) -> AsyncIterator[models.Delivery]:
        """Webhook deliveries; ``limit`` is the size of a page."""
        return self._pages(lambda cursor: requests.deliveries(state, cursor, limit))

    async def delivery(self, delivery_id: str) -> models.Delivery:
        """One webhook delivery."""
        return await self._send(requests.delivery(delivery_id))

    async def redeliver(self, delivery_id: str) -> models.Delivery | None:
        """Deliver once more; answers with the delivery if the server does."""
        return await self._send(requests.redeliver(delivery_id))

    def tokens(self, limit: int = 500, workspace: str | None = None) -> AsyncIterator[models.Token]:
        """All tokens of the workspace, the caller's own if None, without their secrets."""
        return self._pages(lambda cursor: requests.tokens(cursor, limit, workspace))

    async def create_token(
        self,
        name: str,
        role: str,
        expires_in_s: float | None = None,
        workspace: str | None = None,
    ) -> models.Token:
        """Create a token; the answer's ``token`` is its secret, shown this once.

        ``workspace`` is the caller's own when None; ``*`` is the installation.
        """
        return await self._send(requests.create_token(name, role, expires_in_s, workspace))

    async def revoke_token(self, token_id: str, workspace: str | None = None) -> None:
        """Make a token worthless."""
        await self._send_delete(requests.revoke_token(token_id, workspace))

    def worker_tokens(self, limit: int = 500) -> AsyncIterator[models.WorkerToken]:
        """The credentials of all workers on other machines, without their secrets."""
        return self._pages(lambda cursor: requests.worker_tokens(cursor, limit))

    async def create_worker_token(
        self, name: str, tags: Sequence[str] = (), expires_in_s: float | None = None
    ) -> models.WorkerToken:
        """Create the credential of a worker on another machine, which has its name for an id.

        The answer's ``join`` is what ``taskyard worker --join`` takes, shown this once.
        """
        return await self._send(requests.create_worker_token(name, tags, expires_in_s))

    async def revoke_worker_token(self, name: str) -> None:
        """Cut the worker of this name off; what it runs goes elsewhere."""
        await self._send_delete(requests.revoke_worker_token(name))

    def users(self, limit: int = 500, workspace: str | None = None) -> AsyncIterator[models.User]:
        """All users of the workspace, the caller's own if None."""
        return self._pages(lambda cursor: requests.users(cursor, limit, workspace))

    async def add_user(
        self, name: str, password: str, role: str, workspace: str | None = None
    ) -> models.User:
        """Add a user; see :meth:`create_token`."""
        return await self._send(requests.add_user(name, password, role, workspace))

    async def remove_user(self, name: str, workspace: str | None = None) -> None:
        """Remove a user."""
        await self._send_delete(requests.remove_user(name, workspace))

    async def secrets(self) -> tuple[str, ...]:
        """The names of all stored secrets."""
        return await self._send(requests.secrets())

    async def set_secret(self, name: str, value: str) -> None:
        """Store a secret, or replace it."""
        await self._send(requests.set_secret(name, value))

    async def remove_secret(self, name: str) -> None:
        """Remove a secret."""
        await self._send_delete(requests.remove_secret(name))

    def audit(
        self, limit: int = 500, workspace: str | None = None
    ) -> AsyncIterator[models.AuditEntry]:
        """The audit trail; ``limit`` is the size of a page."""
        return self._pages(lambda cursor: requests.audit(cursor, limit, workspace))

    async def me(self) -> models.Me:
        """Who the credential says we are."""
        return await self._send(requests.me())

    async def version(self) -> models.ServerVersion:
        """The server's version."""
        return await self._send(requests.version())

    async def health(self) -> dict[str, Any]:
        """What the server says of itself; needs no credential."""
        return await self._send(requests.health())
