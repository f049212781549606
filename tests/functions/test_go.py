"""What is particular to functions in Go: modules, vendored packages, panics, content types."""

from pathlib import Path

import pytest
from function_world import FunctionWorld

from taskyard.core.functions.functions import Language
from taskyard.core.states import Reason
from taskyard.runtimes.function import child

pytestmark = [pytest.mark.anyio, pytest.mark.golang, pytest.mark.timeout(300)]

SDK = "github.com/openfaas/templates-sdk/go-http"
MODULE = f"""
package function

import (
	"example.org/mine/inner"
	handler "{SDK}"
)

func Handle(req handler.Request) (handler.Response, error) {{
	switch string(req.Body) {{
	case "panic":
		panic("it is over")
	case "nothing":
		return handler.Response{{}}, nil
	}}
	return handler.Response{{Body: inner.Words()}}, nil
}}
"""
INNER = 'package inner\n\nfunc Words() []byte { return []byte("<html>") }\n'
LISTED = f"module example.org/mine\n\ngo 1.16\n\nrequire {SDK} v0.0.0-20220408082716-5981c545cb03\n"


async def test_a_module_of_several_packages(fast: FunctionWorld) -> None:
    """Its ``go.mod`` is honoured; content types that are not said are those Go would give."""
    source = {"handler.go": MODULE, "inner/inner.go": INNER, "go.mod": LISTED}
    await fast.build(source, language=Language.GO)
    ended = await fast.call(timeout_s=20.0)
    assert ended.result is not None, ended
    assert ended.result.body == b"<html>"
    assert ended.result.headers == (("Content-Type", "text/html; charset=utf-8"),)
    nothing = await fast.call("nothing")
    assert nothing.result is not None, nothing
    assert (nothing.result.status, nothing.result.headers) == (200, ())
    panicked = await fast.call("panic")
    assert (panicked.reason, panicked.message) == (Reason.FUNCTION_ERROR, "panic: it is over")
    assert b"/handler.go:" in await fast.output(panicked, "stderr")


async def test_vendored_packages_are_used_as_they_are(fast: FunctionWorld) -> None:
    """Nothing is looked up elsewhere."""
    vendored = f"vendor/{SDK}/handler.go"
    sdk = Path(child.__file__).parent / "go" / "sdk" / "handler.go"
    other = "package other\n\nvar Words = []byte(`vendored`)\n"
    source = {
        "function/handler.go": MODULE.replace("inner", "other").replace("Words()", "Words"),
        "function/go.mod": LISTED + "\nrequire example.org/mine/other v1.0.0\n",
        f"function/{vendored}": sdk.read_text("utf-8"),
        "function/vendor/example.org/mine/other/other.go": other,
        "function/vendor/modules.txt": "# example.org/mine/other v1.0.0\n## explicit\n"
        "example.org/mine/other\n"
        f"# {SDK} v0.0.0-20220408082716-5981c545cb03\n## explicit\n{SDK}\n",
    }
    await fast.build(source, language=Language.GO)
    ended = await fast.call(timeout_s=20.0)
    assert ended.result is not None, ended
    assert ended.result.body == b"vendored"


async def test_the_library_is_compiled_once(fast: FunctionWorld) -> None:
    """Nothing of a build gets into what the next begins with."""
    said = "compiling Go's own library, once for this worker"
    source = {"handler.go": MODULE, "inner/inner.go": INNER, "go.mod": LISTED}
    assert said in await fast.build(source, language=Language.GO)
    (kept,) = (fast.root / "functions" / "toolchains").iterdir()
    names = {one.name for one in kept.rglob("*")}
    assert said not in await fast.build(source, language=Language.GO, number=2)
    assert {one.name for one in kept.rglob("*")} == names
    assert (await fast.call(number=2, timeout_s=20.0)).result is not None
