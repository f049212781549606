"""Functions in JavaScript: what they are asked, what they answer, what they depend on."""

import json
import os
import shutil

import pytest
from greencloud_world import Account, GreenCloudWorld, Json, zipped

pytestmark = [pytest.mark.anyio, pytest.mark.node]


@pytest.fixture(autouse=True)
def _needs_node() -> None:
    """With npm, which installs what functions depend on."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Node.js here")
        pytest.skip("there is no Node.js here")


async def test_javascript(world: GreenCloudWorld) -> None:
    """Event and context, by callbacks and by returned values."""
    acme: Account = world.acme
    function = await acme.deployed(
        "module.exports = async (event, context) => {\n"
        "  const seen = { body: event.body, raw: event.rawBody.toString(), q: event.query,\n"
        "    qs: event.queryString, method: event.method, path: event.path,\n"
        "    task: event.headers['gc-task-id'] };\n"
        "  if (event.query.fail) return context.fail('broken');\n"
        "  return context.status(201).headers({ 'x-a': 'b' }).succeed(seen);\n"
        "};\n",
        lang="JS",
    )
    kind = {"content-type": "application/json"}
    result = await acme.called(function, content=b'{"a":1}', headers=kind, params={"q": "1"})
    assert (result.status_code, result.headers["x-a"]) == (201, "b")
    assert result.headers["content-type"] == "application/json"
    assert result.json() == {
        "body": {"a": 1},
        "raw": '{"a":1}',
        "q": {"q": "1"},
        "qs": "q=1",
        "method": "POST",
        "path": "/",
        "task": result.headers["gc-task-id"],
    }
    failed = await acme.called(function, params={"fail": "1"})
    assert (failed.status_code, failed.json()["error"]) == (500, "FUNCTION_ERROR")
    assert "broken" in failed.json()["message"]
    kinds = await acme.deployed(
        "module.exports = (event) => [typeof event.body, Buffer.isBuffer(event.body)];\n",
        lang="JS",
    )
    for sent, body, found in (
        ("application/json", b'{"a":1}', ["object", False]),
        ("application/json", b"{", ["string", False]),
        ("text/plain", b"text", ["string", False]),
        ("application/octet-stream", b"\xff\x00", ["object", True]),
    ):
        result = await acme.called(kinds, content=body, headers={"content-type": sent})
        assert result.json() == found, sent
    plain = await acme.deployed("module.exports = () => 'plain'\n", lang="JS")
    assert (await acme.called(plain)).text == "plain"


@pytest.mark.parametrize("inside", ["", "function/"])
async def test_dependencies_of_javascript(world: GreenCloudWorld, inside: str) -> None:
    """A package of the archive, named by a path."""
    function = await world.acme.function(lang="JS")
    package = {"name": "greeting", "version": "1.0.0", "main": "index.js"}
    wanted: Json = {
        "name": "f",
        "version": "1.0.0",
        "dependencies": {"greeting": "file:./greeting"},
    }
    files: dict[str, str | bytes] = {
        f"{inside}handler.js": "module.exports = () => require('greeting').said;\n",
        f"{inside}package.json": json.dumps(wanted),
        f"{inside}greeting/package.json": json.dumps(package),
        f"{inside}greeting/index.js": "exports.said = 'installed';\n",
    }
    built = await world.acme.build(function, zipped(files))
    assert built["status"] == "SUCCESS", built["log"]
    assert "dependencies installed" in built["log"]
    assert (await world.acme.called(function)).text == "installed"
    files[f"{inside}package.json"] = json.dumps(
        {**wanted, "dependencies": {"x": "file:./none.tgz"}}
    )
    failed = await world.acme.build(function, zipped(files))
    assert failed["status"] == "FAILED"
    assert (await world.acme.called(function)).text == "installed"
