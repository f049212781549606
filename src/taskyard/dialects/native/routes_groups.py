"""Groups and the workspace: pausing, limits, counts."""

from typing import Any, Final

from msgspec import UNSET

from taskyard.core.access.principals import Role
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import GroupName
from taskyard.dialects.http.answers import Answer, json_answer
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.native.decoding import NoQuery
from taskyard.dialects.native.dialect import Call, Description, answers
from taskyard.dialects.native.paging import page_of, read_text
from taskyard.dialects.native.queries import PageQuery
from taskyard.dialects.native.schemas_rest import (
    GroupAnswer,
    GroupPageAnswer,
    GroupPatch,
    WorkspaceAnswer,
    WorkspacePatch,
)
from taskyard.ports.workspaces import GroupRecord

GROUPS: Final = "groups"


routes = Routes[Call[Any, Any], Description](answers({}), "/groups")


@routes.get("", answers({200: GroupPageAnswer}))
async def list_groups(call: Call[PageQuery, None]) -> Answer:
    """A page of groups, in order of name."""
    limit, after = call.query.limit, read_text(GROUPS, call.query.cursor)
    found = await call.engine.groups.page(call.caller, after, limit + 1)
    shown = page_of(GROUPS, found, limit, lambda one: one.name, group_answer)
    return json_answer(GroupPageAnswer(*shown))


@routes.get("/{name}", answers({200: GroupAnswer}, fails=(404, 422)))
async def get_group(call: Call[NoQuery, None]) -> Answer:
    """One group; an unknown one has no tasks and no limits."""
    return json_answer(group_answer(await call.engine.groups.get(call.caller, _name(call))))


@routes.patch("/{name}", answers({200: GroupAnswer}, role=Role.OPERATE, fails=(404, 422, 507)))
async def change_group(call: Call[NoQuery, GroupPatch]) -> Answer:
    """Pause, resume or limit a group."""
    patch = call.body
    limit = patch.concurrency_limit
    record = await call.engine.groups.set(
        call.caller,
        _name(call),
        paused=None if patch.paused is UNSET else patch.paused,
        concurrency_limit=None if limit is UNSET else limit,
        clear_limit=limit is None,
    )
    return json_answer(group_answer(record))


@routes.post("/{name}/pause", answers({200: GroupAnswer}, role=Role.OPERATE, fails=(404, 422, 507)))
async def pause_group(call: Call[NoQuery, None]) -> Answer:
    """Start no more tasks of a group; running ones continue."""
    record = await call.engine.groups.set(call.caller, _name(call), paused=True)
    return json_answer(group_answer(record))


@routes.post(
    "/{name}/resume", answers({200: GroupAnswer}, role=Role.OPERATE, fails=(404, 422, 507))
)
async def resume_group(call: Call[NoQuery, None]) -> Answer:
    """Start tasks of a group again."""
    record = await call.engine.groups.set(call.caller, _name(call), paused=False)
    return json_answer(group_answer(record))


workspace_routes = Routes[Call[Any, Any], Description](answers({}), "/workspace")


@workspace_routes.get("", answers({200: WorkspaceAnswer}))
async def get_workspace(call: Call[NoQuery, None]) -> Answer:
    """The caller's workspace, its limit and its tasks by state."""
    return json_answer(await _workspace(call))


@workspace_routes.patch("", answers({200: WorkspaceAnswer}, role=Role.ADMIN, fails=(507,)))
async def change_workspace(call: Call[NoQuery, WorkspacePatch]) -> Answer:
    """Limit how many attempts of the workspace run at once."""
    await call.engine.groups.set_workspace_limit(call.caller, call.body.concurrency_limit)
    return json_answer(await _workspace(call))


def group_answer(record: GroupRecord) -> GroupAnswer:
    """A group as answered."""
    return GroupAnswer(record.name, record.paused, record.concurrency_limit, record.counts)


async def _workspace(call: Call[NoQuery, object]) -> WorkspaceAnswer:
    limit = await call.engine.groups.workspace_limit(call.caller)
    counts = await call.engine.tasks.counts(call.caller)
    return WorkspaceAnswer(
        call.caller.workspace, limit, {str(state): count for state, count in counts.items()}
    )


def _name(call: Call[NoQuery, object]) -> GroupName:
    name = call.path("name")
    if len(name) > 255 or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        raise InvalidInput("name", "must be 1 to 255 characters, without control characters")
    return GroupName(name)
