"""What is particular to functions in C#: what is answered with, and packages."""

import pytest
from function_world import FunctionWorld

from taskyard.core.functions.functions import CallRequest, Language
from taskyard.core.states import Reason
from taskyard.ports.functions import BuildFailed

pytestmark = [pytest.mark.anyio, pytest.mark.mono]

TEMPLATE = """
using Microsoft.AspNetCore.Http;
using System.IO;
using System.Threading.Tasks;

namespace Function
{
    public class FunctionHandler
    {
        public async Task<(int, string)> Handle(HttpRequest request)
        {
            var reader = new StreamReader(request.Body);
            var input = await reader.ReadToEndAsync();

            return (200, $"Hello! Your input was {input}");
        }
    }
}
"""
PLAIN = """
using Microsoft.AspNetCore.Http;

namespace Function
{
    public class FunctionHandler
    {
        public string Handle(HttpRequest request)
        {
            var response = request.HttpContext.Response;
            response.ContentType = "text/x";
            response.StatusCode = 202;
            string none = request.Query["none"];
            var query = request.Query;
            return $"{query["a"]} {query["b c"]} {query["e"]} {none == null} {Other.Words}";
        }
    }
}
"""
OTHER = "namespace Function { static class Other { public const string Words = `caf\u00e9`; } }"
PROJECT = """
<Project Sdk="Microsoft.NET.Sdk">
  <ItemGroup>
    <PackageReference Include="Microsoft.AspNetCore.Http.Abstractions" Version="2.2.0" />
    {more}
  </ItemGroup>
</Project>
"""


async def test_a_handler_in_the_shape_of_the_template(fast: FunctionWorld) -> None:
    """With its project file, which lists nothing but what is there."""
    source = {"FunctionHandler.cs": TEMPLATE, "Function.csproj": PROJECT.format(more="")}
    await fast.build(source, language=Language.CSHARP)
    ended = await fast.call("x", timeout_s=20.0)
    assert ended.result is not None, ended
    assert (ended.result.status, ended.result.body) == (200, b"Hello! Your input was x")
    assert ended.result.headers == (("Content-Type", "text/plain; charset=utf-8"),)


async def test_a_handler_that_answers_at_once(fast: FunctionWorld) -> None:
    """From several files, with what it says of the response, and the parameters of the query."""
    source = {
        "function/FunctionHandler.cs": PLAIN,
        "function/more/Other.cs": OTHER.replace("`", '"'),
        "function/obj/Junk.cs": "this is not compiled",
    }
    await fast.build(source, language=Language.CSHARP)
    query = "a=1&a=2&b+c=%C3%A9&e&=&&"
    ended = await fast.call(request=CallRequest(query=query), timeout_s=20.0)
    assert ended.result is not None, ended
    assert ended.result.status == 202
    assert ended.result.body == "1,2 \u00e9  True caf\u00e9".encode()
    assert ended.result.headers == (("Content-Type", "text/x"),)


@pytest.mark.parametrize(
    "answer", ["public int Handle(HttpRequest r) { return 1; }", "public void Handle() {}"]
)
async def test_what_is_no_answer(fast: FunctionWorld, answer: str) -> None:
    """Is refused by the compiler where it can tell, and otherwise when it comes."""
    source = (
        "using Microsoft.AspNetCore.Http; namespace Function { "
        f"public class FunctionHandler {{ {answer} }} }}"
    )
    if "void" in answer:
        with pytest.raises(BuildFailed, match="does not compile"):
            await fast.build(source, language=Language.CSHARP)
        return
    await fast.build(source, language=Language.CSHARP)
    ended = await fast.call(timeout_s=20.0)
    assert ended.reason is Reason.FUNCTION_ERROR
    assert "a Int32 cannot be answered with" in (ended.message or "")


async def test_packages_have_no_tool_chain(fast: FunctionWorld) -> None:
    """Which is said before the compiler complains of names."""
    listed = PROJECT.format(more='<PackageReference Version="13" Include="Newtonsoft.Json" />')
    source = {"FunctionHandler.cs": TEMPLATE, "Function.csproj": listed}
    with pytest.raises(BuildFailed, match=r"no tool chain .* Function\.csproj lists Newtonsoft"):
        await fast.build(source, language=Language.CSHARP)
