"""What the dialect's handlers are given."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from litestar.types import Receive, Scope

from taskyard.core.access.principals import Caller
from taskyard.core.errors import NotFound
from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.core.jobs import Execution, Job, JobKey
from taskyard.dialects.fastlane.settings import FastlaneSettings
from taskyard.dialects.fastlane.urls import Urls, urls_of
from taskyard.dialects.http.bodies import read_body
from taskyard.dialects.http.dialect import DialectContext
from taskyard.services.engine import Engine

CALLER_KEY: Final = "fastlane_caller"
"""Where a connection's state keeps who asks."""
NAME_LENGTH: Final = 255
_QUERY_MEMBERS: Final = 64
_UNSTORABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and what stands for an encoded slash inside a segment."""


@dataclass(frozen=True, slots=True)
class Fastlane:
    """The dialect below one prefix."""

    host: DialectContext
    settings: FastlaneSettings
    prefix: str

    @property
    def workspace(self) -> WorkspaceName:
        """Where its tasks live."""
        return WorkspaceName(self.settings.workspace)


@dataclass(frozen=True, slots=True)
class Call:
    """One request whose caller is known."""

    fastlane: Fastlane
    caller: Caller
    scope: Scope
    receive: Receive

    @property
    def engine(self) -> Engine:
        """The engine that is asked."""
        return self.fastlane.host.engine

    @property
    def urls(self) -> Urls:
        """For the answer."""
        return urls_of(self.scope, self.fastlane.prefix, self.fastlane.settings.server_name)

    @property
    def task_id(self) -> GroupName:
        """The task in the path."""
        return GroupName(self.path("task_id"))

    def path(self, name: str) -> str:
        """A segment of the path, decoded."""
        segment: str = self.scope["path_params"][name]
        return segment

    def query(self) -> dict[str, str]:
        """Parameters by name; of several with one name, the first."""
        text = self.scope["query_string"].decode("latin-1")
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_QUERY_MEMBERS)
        except ValueError:
            return {}
        found: dict[str, str] = {}
        for name, value in pairs:
            found.setdefault(name, value)
        return found

    async def body(self) -> bytes:
        """The whole of it. Raises ``BodyTooLarge``, ``BodyIncomplete``."""
        limit = self.fastlane.host.max_body_bytes
        return await read_body(self.scope, self.receive, limit, self.caller.workspace)

    async def job(self) -> Job:
        """The job in the path. Raises ``NotFound``."""
        return await self.engine.jobs.get(job_key(self, self.path("job_id")))

    async def last_execution(self, job: Job) -> Execution | None:
        """The execution created last, if there is one."""
        found = await self.engine.jobs.executions(job, 1)
        return found[0] if found else None


def job_key(call: Call, job_id: str) -> JobKey:
    """Where the job of this id is. Raises ``NotFound`` for what could never be stored."""
    for text in (call.task_id, job_id):
        if not 1 <= len(text) <= NAME_LENGTH or _UNSTORABLE.search(text):
            raise NotFound("group", "")
    return JobKey(call.fastlane.workspace, call.task_id, job_id.lower())
