"""Rules of placement in MVEL and HOPE: what they mean, and what of them is refused."""

from typing import Any

import pytest
from drove_world import DroveWorld, spec
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.fleet import MetadataOfAll
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.rules import holds, problem_of_rule
from taskyard.dialects.drove import simulation
from taskyard.dialects.drove.hope import rule_of_hope
from taskyard.dialects.drove.mvel import rule_of_mvel
from taskyard.dialects.drove.ruledata import RuleData, RuleProblem

CAPACITY = Capacity(9, 9000, 1 << 30)
METADATA = {
    "w1": {
        "zone": "Z-1",
        "cores": "8",
        "ssd": "true",
        "hostname": "h.example",
        "a.b": "c/d",
        "peer": "id-2",
    },
    "w2": {"zone": "Y"},
}
ROOMS = {
    WorkerId(name): Room(
        WorkerId(name), IncarnationId("1"), CAPACITY, CAPACITY, hostname=name, metadata=metadata
    )
    for name, metadata in METADATA.items()
}
DATA = RuleData({"ZONE": "Z-1", "EMPTY": "", "NODE": "id-1"}, {"id-1": "w1", "id-2": "w2"})
OWN = "allocatedExecutorNodeMetadata"
ALL = "allExecutorMetadata"
ENV = "applicationEnvironment"
pytestmark = pytest.mark.anyio


def is_true(kind: str, rule: str, worker: str = "w1") -> bool:
    """Whether a rule holds for one of the two executors."""
    text = (rule_of_hope if kind == "HOPE" else rule_of_mvel)(rule, DATA)
    assert problem_of_rule(text) is None, text
    return holds(text, ROOMS[WorkerId(worker)], MetadataOfAll(ROOMS))


@pytest.mark.parametrize(
    "rule",
    [
        "true",
        "executorNodeId == 'id-1'",
        'executorNodeId=="id-1"',
        "executorNodeId != 'id-2' && executorNodeId.equals('id-1')",
        "executorNodeId in ['id-1', 'id-9']",
        "['id-1'] contains executorNodeId",
        f"executorNodeId == {ENV}.NODE && {ENV}['NODE'] == executorNodeId",
        f"{ENV}.NODE.equals(executorNodeId) && executorNodeId in [{ENV}.NODE, null]",
        f"{ALL}[{ENV}.NODE].zone == 'Z-1' && {OWN}.peer == 'id-2' && executorNodeId != null",
        f"{OWN}.hostname=='h.example'",
        f"{OWN}['zone'] == 'Z-1'",
        f"{OWN}[\"a.b\"] == 'c/d'",
        f"{OWN}.get('zone') == {ENV}['ZONE']",
        f'{OWN}.containsKey("zone")',
        f"{OWN} contains 'zone' and {OWN}.contains('ssd')",
        f"{OWN}['none'] == null && {OWN}.zone != null && {OWN}.get('none') == nil",
        f"{OWN}.getOrDefault('none', 'd') == 'd'",
        f"{OWN}.size() == 6 && !{OWN}.isEmpty()",
        f"{OWN}['cores'] > 4 && {OWN}.cores <= 8",
        f"{OWN}['cores'] == 8 && 8.0 == {OWN}['cores']",
        f"{OWN}['cores'] > '10' || {OWN}['cores'] < '10'",
        f"{OWN}['cores'] * 2 - 1 == 15 and {OWN}.cores % 3 == 2 and {OWN}.cores / 2 == 4",
        f"{OWN}.ssd == true && {OWN}['none'] != true",
        f"({OWN}.zone == 'Q' ? 1 : 2) == 2",
        f"{OWN}.zone == 'Q' ? false : {OWN}.zone == 'Z-1'",
        f"{OWN}.zone.toLowerCase() == 'z-1' && {OWN}.zone.toUpperCase() == 'Z-1'",
        f"{OWN}.zone.startsWith('Z') && {OWN}.zone.endsWith('1') && {OWN}.zone contains '-'",
        f"{OWN}.zone.contains('-') && {OWN}.zone.length() == 3 && !{OWN}.zone.isEmpty()",
        f"{OWN}.zone.substring(2) == '1' && {OWN}.zone.substring(0, 1).equals('Z')",
        f"{OWN}.zone.equalsIgnoreCase('z-1') && ' a '.trim() + 'b' == 'ab'",
        f"{OWN}.zone in ['Z-1', 'Q'] && !({OWN}.zone in ['Q'])",
        "['a', 'b'].size() == 2 && ![].contains('a') && [].isEmpty()",
        f"{ALL}['id-2'].zone == 'Y' && {ALL}.get('id-2')['zone'] == \"Y\"",
        f"{ALL}.containsKey('id-2') && !{ALL}.containsKey('id-9') && {ALL}.size() == 2",
        f"{ALL}[executorNodeId].zone == {OWN}.zone",
        f"{ENV}.ZONE == 'Z-1' && {ENV}.containsKey('EMPTY') && !{ENV}.containsKey('NONE')",
        f"{ENV}['NONE'] == null && {ENV}.get('EMPTY') == '' && {ENV}.size() == 3",
        f"{ENV}.getOrDefault('NONE', 'd') == 'd' && !{ENV}.isEmpty() && {ENV} contains 'ZONE'",
        "-1 < 0 && +2 > 1",
        "007 == 7 && 00.5 == 0.5",
        "'it\\'s \\u0041' == \"it's A\"",
        f"{OWN}\n['zone']\t== 'Z-1'",
        f"!(true && false) || {ENV}['ZONE'] == '&&'",
    ],
)
def test_mvel_means_what_it_says(rule: str) -> None:
    """Comparisons, choices, arithmetic, members in three forms, methods."""
    assert is_true("MVEL", rule), rule_of_mvel(rule, DATA)


@pytest.mark.parametrize(
    "rule",
    [
        "false",
        "executorNodeId == 'id-2'",
        f"{OWN}.none == null",
        f"{OWN}['none'] > 1 || true",
        f"{OWN}.zone > 4",
        f"{OWN}['none'].length() == 0",
        f"{ALL}['id-9'].zone == null",
        f"{OWN}['ssd'] != true",
    ],
)
def test_mvel_is_false_where_it_fails(rule: str) -> None:
    """Such as for a property that is not there; a member asked for by subscript is null."""
    assert not is_true("MVEL", rule)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("1 +", "ends too early"),
        ("", "ends too early"),
        ("(" * 500, "ends too early"),
        ("'abc", "character 1"),
        ("aa bb", "character 4: 'bb'"),
        ("executorNodeId = 'x'", "character 16: \"= 'x'\""),
        ("executorNodeId ~= '.*'", "character 16"),
        ("executorNodeId; true", "character 15"),
        ("new ArrayList()", "character 5"),
        ("import java.util", "character 8"),
        ("__import__('os')", "character 11"),
        ("Runtime.getRuntime().exec('x')", "there is no 'Runtime'"),
        ("hostname == 'x'", "there is no 'hostname'"),
        ("'x'.class == 1", "'class' is not known for text"),
        ("'x'.getClass() == 1", "getClass() with 0 arguments is not known for text"),
        ("'x'.matches('.*')", "matches() with 1 arguments"),
        (f"{OWN}.put('a', 'b')", "put() with 2 arguments is not known for the metadata"),
        (f"{OWN}.values().size() == 1", "values()"),
        (f"{ALL}.keySet() == 1", "keySet()"),
        ("executorNodeId.startsWith('a')", "the id of an executor"),
        ("executorNodeId < 'a'", "compares numbers or text"),
        (f"executorNodeId == {OWN}.peer", "ids that are known"),
        (f"['a', {OWN}.peer] contains executorNodeId", "ids that are known"),
        (f"{ALL}[{OWN}.peer].zone == 'Y'", "ids that are known"),
        (f"{ALL}.containsKey({OWN}.peer)", "ids that are known"),
        (f"{OWN}.containsKey(executorNodeId)", "does not take the id"),
        (f"{OWN}[executorNodeId] == 'x'", "named by text, not by the id"),
        ("[executorNodeId] contains 'id-1'", "cannot be in a list"),
        ("(true ? executorNodeId : 'id-1') == 'id-1'", "cannot choose between the id"),
        ("executorNodeId == 5", "ids that are known, not a number"),
        (f"{ENV}[executorNodeId] == 'x'", "written out"),
        (f"{ENV}.NONE == 'x'", "has no 'NONE'"),
        (f"{ENV}.values()", "not known for the environment"),
        (f"{OWN}['zone']", "a rule needs true or false, not text"),
        ("1", "a rule needs true or false, not a number"),
        (f"{OWN}['zone'] && true", "&& needs true or false, not text"),
        ("!'x'", "! needs true or false"),
        (f"{OWN} == 'x'", "not a single value"),
        (f"{OWN}[1] == 'x'", "named by text"),
        ("'x'[1] == 'x'", "not known for text"),
        ("'x'['\\ud800'] == 'x'", "'\\ud800' is not known for text"),
        ("'a' + 1 == 'a1'", "cannot be added"),
        ("true + 1 == 2", "computes with numbers"),
        ("'x'.substring('a') == 'x'", "substring() needs a number"),
        ("'x'.contains(['x'])", "needs a single value"),
        (f"'a' in {OWN}", "in needs a list"),
        ("'\\q' == 'x'", "is not a valid escape"),
        (f"{OWN}.getOrDefault(" * 90, "ends too early"),
    ],
)
def test_other_mvel_is_refused_by_name(rule: str, said: str) -> None:
    """When the task is created; nothing is guessed."""
    with pytest.raises(RuleProblem) as refused:
        rule_of_mvel(rule, DATA)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "rule",
    [
        "2 < 4",
        "'/executorNodeId' == 'id-1'",
        f"'/{OWN}/zone' == \"Z-1\"",
        f"\"$.{OWN}.zone\" == 'Z-1'",
        f"\"$['{OWN}']['a.b']\" == 'x' || '/{OWN}/a.b' == 'c/d'",
        f"'/{OWN}/zone' == '/{ENV}/ZONE'",
        f"'/{OWN}/zone' != 'Y' && '/{OWN}/ssd' != true && '/{OWN}/peer' == 'id-2'",
        f"'/executorNodeId' == '/{ENV}/NODE' && arr.in('/executorNodeId', ['id-1', 'x']) == true",
        f"'/{ALL}/id-2/zone' == 'Y' && \"$.{ALL}.id-2.zone\" == 'Y'",
        f"(1 == 2 || 2 == 2) && ^pointer.exists('/{OWN}/none')",
        f"pointer.exists('/{OWN}/zone') == true",
        f"path.exists('$.{OWN}.none') == false",
        f"pointer.exists('/{ENV}/EMPTY') == true && pointer.exists('/{ENV}/NONE') == false",
        f"pointer.exists('/{ALL}/id-2/zone') == true && pointer.exists('/{ALL}/id-9') == false",
        f"pointer.exists('/{ALL}/id-9/zone') == false && pointer.exists('/{ALL}') == true",
        "pointer.exists('/executorNodeId/x') == false",
        f"arr.in('/{OWN}/zone', ['Z-1', 'Q']) == true && arr.not_in(3, [1, 2]) == true",
        f"str.lower('/{OWN}/zone') == 'z-1' && str.upper('a') == \"A\"",
        f"str.len('/{OWN}/zone') >= 3 && str.substr('/{OWN}/zone', 0, 1) == 'Z'",
        "str.substr('abc', 1) == 'bc'",
        "math.add(1, 2, -3.5) == -.5 && math.prod(2, 3) == 6 && math.abs(-1) == 1",
        "math.sub(3, 1) == 2 && math.minus(3, 1) == 2 && math.div(1, 2) == 0.5",
        "math.mod(7, 4) == 3 && math.negate(1) == -1 && math.ceil(1.2) == math.floor(2.9)",
        "true & TRUE",
        "false | true",
        "^false",
        "((1 == 1))",
    ],
)
def test_hope_means_what_it_says(rule: str) -> None:
    """Pointers and paths, comparisons, rows, and the common functions."""
    assert is_true("HOPE", rule), rule_of_hope(rule, DATA)


@pytest.mark.parametrize(
    "rule",
    [
        "2 > 4",
        f"'/{OWN}/none' != 'x'",
        f"'/{ALL}/id-9/zone' != 'x'",
        f"'/{OWN}/cores' == 8",
        "math.div(1, 0) > 0 || 1 == 1",
        f"str.substr('/{OWN}/zone', 0, 9) == 'x'",
    ],
)
def test_hope_is_false_where_something_is_missing(rule: str) -> None:
    """Whatever else it says; and text is no number."""
    assert not is_true("HOPE", rule)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("", "ends too early"),
        ("1", "ends too early"),
        ("'/executorNodeId'", "ends too early"),
        ("1 == 1 &&", "ends too early"),
        ("2 asdj 4ada", "character 3"),
        ("1 == 1 garbage", "character 8"),
        ("1 == 1 && 2 == 2 || 3 == 3", "need parentheses"),
        ("'/data' == 'x'", "there is no 'data'"),
        ("'$.data' == 'x'", "there is no 'data'"),
        ("'$..zone' == 'x'", "of JSON path only members"),
        (f"'$.{OWN}[*]' == 'x'", "not '[*]'"),
        ("'$' == 'x'", "of JSON path only members"),
        (f"'/{OWN}' == 'x'", "not a single value"),
        (f"'/{OWN}/zone/x' == 'x'", "leads beyond text"),
        (f"'/{ENV}/NONE' == 'x'", "has no 'NONE'"),
        (f"'/{OWN}/peer' == '/executorNodeId'", "ids that are known"),
        (f"arr.in('/executorNodeId', ['/{OWN}/peer']) == true", "ids that are known"),
        (f"'/{OWN}/cores' > 4", "> needs a number, not text"),
        (f"'/{OWN}/ssd' & true", "& needs true or false, not text"),
        ("^'x'", "^ needs true or false"),
        ("str.match('^a', 'abc') == true", "str.match() with 2 arguments"),
        ("sys.epoch() > 5", "sys.epoch()"),
        ("math.abs('x') > 1", "math.abs() needs a number, not text"),
        ("arr.in('x', 'y') == true", "arr.in() needs a list"),
        (f"arr.in('/{OWN}', ['y']) == true", "single value"),
        ("pointer.exists('x') == true", "needs a path"),
    ],
)
def test_other_hope_is_refused_by_name(rule: str, said: str) -> None:
    """What can never be true because of its types as well."""
    with pytest.raises(RuleProblem) as refused:
        rule_of_hope(rule, DATA)
    assert said in str(refused.value)


@given(st.text(max_size=40) | st.text("()[]!&|<>=+-.'\"$/ abc1", max_size=60))
def test_any_text_is_translated_or_refused(rule: str) -> None:
    """And what is translated can be evaluated, or is refused for its size."""
    for translate in (rule_of_mvel, rule_of_hope):
        try:
            text = translate(rule, DATA)
        except RuleProblem:
            continue
        assert problem_of_rule(text) is None or len(rule) > 20


async def created(world: DroveWorld, kind: str, rule: str, task_id: str = "T1") -> dict[str, Any]:
    """A task with a rule, once it runs."""
    policy = {"type": "RULE_BASED", "ruleType": kind, "rule": rule}
    await world.create(task_id, "hang", placementPolicy=policy, env={"ZONE": "z"})
    return await world.in_state("RUNNING", task_id)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("HOPE", f"'/{OWN}/zone' == \"z\""),
        ("HOPE", f"'/{OWN}/zone' == '/{ENV}/ZONE' && pointer.exists('/{OWN}/none') == false"),
        ("hope", "'/executorNodeId' == '{w2}'"),
        ("HOPE", f"'/{ALL}/{{w2}}/zone' == 'z' && '/executorNodeId' != '{{w1}}'"),
        ("MVEL", f'{OWN}.containsKey("zone")'),
        ("MVEL", f"{ALL}['{{w2}}'].zone == 'z' && {ALL}.size() == 2 && executorNodeId != '{{w1}}'"),
        ("MVEL", f"{ALL}[executorNodeId].zone == {ENV}.ZONE"),
    ],
)
async def test_rules_of_both_kinds_choose_executors(
    world: DroveWorld, kind: str, rule: str
) -> None:
    """By its own metadata, by its id, and by those of all others."""
    await world.workers.join("w2", tags=("gpu",), metadata={"zone": "z"})
    executors = await world.get("/cluster/executors")
    ids = {one["hostname"].removeprefix("host-"): one["executorId"] for one in executors}
    shown = await created(world, kind, rule.format(**ids))
    assert shown["executorId"] == ids["w2"]
    policy = {"type": "RULE_BASED", "ruleType": kind, "rule": rule.format(**ids)}
    asked = spec("S", placementPolicy=policy, env={"ZONE": "z"})
    answer = await world.post("/cluster/placement/simulate", {"spec": asked, "numInstances": 1})
    assert [one["executorId"] for one in answer.json()["data"]["placements"]] == [ids["w2"]]


async def test_rules_about_all_executors_follow_the_cluster(world: DroveWorld) -> None:
    """The next task sees who has joined since."""
    rule = f"{ALL}.size() == 2"
    policy = {"type": "RULE_BASED", "ruleType": "MVEL", "rule": rule}
    answer = await world.operate("CREATE", spec=spec("T0", placementPolicy=policy))
    assert answer.status_code == 400
    await world.workers.join("w2", metadata={"zone": "z"})
    await created(world, "MVEL", rule)


async def test_rules_that_cannot_be_read_are_told_with_their_reason(world: DroveWorld) -> None:
    """At creation and at validation, with what is not known."""
    for kind, rule, said in (
        ("HOPE", "str.match('a', 'b') == true", "Rule of type HOPE: str.match()"),
        ("MVEL", "Runtime.exec('x')", "Rule of type MVEL: there is no 'Runtime'"),
        ("MVEL", "!" * 3000 + "true", "too large, or nested too deeply"),
        ("MVEL", "true" + " && true" * 1000, "more than 4096 characters"),
    ):
        policy = {"type": "RULE_BASED", "ruleType": kind, "rule": rule}
        (problem,) = await world.refused(placementPolicy=policy)
        assert said in problem


async def test_the_length_of_all_rules_together_is_bounded(world: DroveWorld) -> None:
    """Before anything tries to understand them; also when it is only asked."""
    rule = f"{OWN}.zone == 'z'" + " || true" * 300
    parts = [{"type": "RULE_BASED", "ruleType": "MVEL", "rule": rule}] * 5
    policy = {"type": "COMPOSITE", "policies": parts, "combiner": "OR"}
    said = "has rules of more than 8000 characters together"
    asked = spec("T0", placementPolicy=policy)
    for answer in (
        await world.operate("CREATE", spec=asked),
        await world.post("/cluster/placement/simulate", {"spec": asked, "numInstances": 1}),
    ):
        assert answer.status_code == 400
        assert said in str(answer.json()["data"]["validationErrors"])


async def test_simulations_evaluate_so_much_and_no_more(
    world: DroveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that would take longer is refused, and says why."""
    policy = {"type": "RULE_BASED", "ruleType": "MVEL", "rule": f"{OWN}.zone == 'z'" + " || true"}
    body = {"spec": spec("T0", placementPolicy=policy), "numInstances": 1000}
    path = "/cluster/placement/simulate"
    assert (await world.post(path, body)).status_code == 200
    await world.workers.join("w2", metadata={"zone": "z"})
    monkeypatch.setattr(simulation, "STEPS_LIMIT", 1)
    answer = await world.post(path, body)
    assert answer.status_code == 400
    assert "too long to evaluate" in str(answer.json()["data"]["validationErrors"])
