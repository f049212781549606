"""The dialect as the kit knows it, and what its handlers are given."""

import re
from dataclasses import dataclass
from typing import Final

from litestar.types import Receive, Scope

from taskyard.core.errors import NotFound
from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.core.jobs import Execution, Job, JobKey
from taskyard.dialects.fastlane.errors import answer_of, page_answer
from taskyard.dialects.fastlane.settings import FastlaneSettings
from taskyard.dialects.fastlane.urls import Urls, urls_of
from taskyard.dialects.http import dialect as kit
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.dialect import CALLER_KEY, Dialect, DialectContext, allow_header
from taskyard.dialects.http.routes import Route

TASK: Final = "/tasks/{task_id}"
JOB: Final = TASK + "/jobs/{job_id}"
EXECUTION: Final = JOB + "/executions/{execution_id}"
NAME_LENGTH: Final = 255
_UNSTORABLE: Final = re.compile("[\x00-\x1f\x7f/\ud800-\udfff]")
"""Control characters, slashes and surrogates."""


class Fastlane(Dialect["Call", None]):
    """The dialect below one prefix. Callers are found before its routes are; see ``auth.py``."""

    name = "fastlane"

    def __init__(self, context: DialectContext, settings: FastlaneSettings, prefix: str) -> None:
        super().__init__(context, prefix)
        self.settings = settings

    @property
    def workspace(self) -> WorkspaceName:
        """Where its tasks live."""
        return WorkspaceName(self.settings.workspace)

    async def enter(self, route: Route["Call", None], scope: Scope, receive: Receive) -> "Call":
        """See the kit."""
        return Call(self, scope["state"][CALLER_KEY], scope, receive)

    def answer_of(self, error: Exception, scope: Scope) -> Answer | None:
        """See the kit."""
        return answer_of(error)

    def defect(self, scope: Scope) -> Answer:
        """See the kit."""
        return page_answer(500)

    def no_route(self, scope: Scope, allowed: list[str]) -> Answer:
        """See the kit."""
        return page_answer(405, (allow_header(allowed),)) if allowed else page_answer(404)

    async def options(self, scope: Scope, allowed: list[str]) -> Answer:
        """See the kit."""
        return Answer(200, b"", (allow_header(allowed),))


@dataclass(frozen=True, slots=True)
class Call(kit.Call[Fastlane]):
    """One request whose caller is known."""

    @property
    def urls(self) -> Urls:
        """For the answer."""
        return urls_of(self.scope, self.dialect.prefix, self.dialect.settings.server_name)

    @property
    def task_id(self) -> GroupName:
        """The task in the path."""
        return GroupName(self.path("task_id"))

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
    return JobKey(call.dialect.workspace, call.task_id, job_id.lower())
