"""As whom work runs, and which workspaces may be served together."""

import pytest

from taskyard.core.access.work_identity import SERVER, Identity, Sandbox, WorkRule, WorkRules
from taskyard.core.errors import Conflict
from taskyard.core.ids import WorkspaceName
from taskyard.services.access.identities import Identities

A, B, C = (WorkspaceName(name) for name in "abc")
PLAIN = WorkRule()
SANDBOXED = WorkRule(sandbox=Sandbox())
OWN_USER = WorkRule("workspace")


def identities(default: WorkRule, *, may_share: bool = False, **named: WorkRule) -> Identities:
    """With these rules."""
    by_workspace = {WorkspaceName(name): rule for name, rule in named.items()}
    return Identities(rules=WorkRules(default, by_workspace, may_share))


@pytest.mark.parametrize("rule", [OWN_USER, SANDBOXED, WorkRule(Identity(7, 7))])
def test_workspaces_with_walls_are_served_together(rule: WorkRule) -> None:
    """However many."""
    one = identities(rule)
    one.serve({A: False, B: False})
    one.admit(C)


def test_without_walls_there_is_one_workspace() -> None:
    """The first one there is; the refusal says what to do."""
    one = identities(PLAIN)
    one.admit(A)
    one.admit(A)
    with pytest.raises(Conflict, match="workspaces_share_user") as refused:
        one.admit(B)
    for word in ("'a'", "'b'", "bubblewrap", "root"):
        assert word in str(refused.value)
    one.admit(A)
    with pytest.raises(Conflict):
        one.admit(B)


def test_several_are_refused_at_the_start() -> None:
    """Those that an earlier server had."""
    with pytest.raises(Conflict, match="cannot both be served"):
        identities(PLAIN).serve({A: False, B: False})


def test_an_operator_may_let_them_share() -> None:
    """In words."""
    one = identities(PLAIN, may_share=True)
    one.serve({A: True, B: True})
    one.admit(C, functions=True)


def test_one_without_a_wall_is_a_danger_to_all() -> None:
    """Whichever of them comes first."""
    for order in ((A, B), (B, A)):
        one = identities(OWN_USER, b=PLAIN)
        one.admit(order[0])
        with pytest.raises(Conflict, match="work of 'b'"):
            one.admit(order[1])


@pytest.mark.parametrize("rule", [OWN_USER, SANDBOXED])
def test_functions_are_held_by_the_same_walls(rule: WorkRule) -> None:
    """Of every workspace, from the start or later."""
    one = identities(rule)
    one.serve({A: True, B: False})
    one.admit(B, functions=True)
    one.admit(C, functions=True)


def test_functions_can_be_turned_off() -> None:
    """Those that an earlier server had stay, and do not count."""
    one = Identities(rules=WorkRules(SANDBOXED, may_share=False, process_functions=False))
    one.serve({A: True, B: True})
    with pytest.raises(Conflict, match="process_functions"):
        one.admit(A, functions=True)


@pytest.mark.anyio
async def test_rules_decide_whom_work_runs_as() -> None:
    """A given user needs no store."""
    one = identities(PLAIN, may_share=True, b=WorkRule(Identity(7, 8), Sandbox(("/srv",))))
    assert await one.of(A) == SERVER
    assert one.sandbox_of(A) is None
    assert await one.of(B) == Identity(7, 8)
    assert one.sandbox_of(B) == Sandbox(("/srv",))


@pytest.mark.anyio
async def test_work_of_a_refused_workspace_is_not_begun() -> None:
    """Also when it was stored under other settings."""
    one = identities(PLAIN)
    await one.of(A)
    with pytest.raises(Conflict):
        await one.of(B)
