"""Functions in languages other than Python, from the upload of a zip archive to the result."""

import anyio
import pytest
from greencloud_world import GreenCloudWorld, zipped

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
GO = """
package function

import (
	"errors"

	handler "github.com/openfaas/templates-sdk/go-http"
)

func Handle(req handler.Request) (handler.Response, error) {
	if string(req.Body) == "fail" {
		return handler.Response{}, errors.New("went wrong")
	}
	text := req.QueryString + req.Header.Get("X-A")
	return handler.Response{StatusCode: 203, Body: []byte(text)}, nil
}
"""
RUBY = """
class Handler
  def run(body, headers)
    raise 'went wrong' if body.read == 'fail'

    ["#{headers['QUERY_STRING']}#{headers['HTTP_X_A']}", {}, 203]
  end
end
"""
RUST = """
use taskyard::{Request, Response};

pub fn handle(request: Request) -> Result<Response<String>, String> {
    if &request.body()[..] == b"fail" {
        return Err("went wrong".to_string());
    }
    let text = format!("{}{}", request.query(), request.headers().get("x-a").unwrap_or(""));
    Response::builder().status(203).body(text).map_err(|error| error.to_string())
}
"""
CSHARP = """
using Microsoft.AspNetCore.Http;
using System;
using System.IO;
using System.Threading.Tasks;

namespace Function
{
    public class FunctionHandler
    {
        public async Task<(int, string)> Handle(HttpRequest request)
        {
            var input = await new StreamReader(request.Body).ReadToEndAsync();
            if (input == "fail") throw new Exception("went wrong");
            return (203, request.QueryString.Value.Substring(1) + request.Headers["x-a"]);
        }
    }
}
"""


@pytest.mark.parametrize(
    ("lang", "file", "source"),
    [
        pytest.param("GO", "handler.go", GO, marks=pytest.mark.golang),
        pytest.param("RB", "handler.rb", RUBY, marks=pytest.mark.ruby),
        pytest.param("RS", "src/lib.rs", RUST, marks=pytest.mark.rust),
        pytest.param("CS", "FunctionHandler.cs", CSHARP, marks=pytest.mark.mono),
    ],
)
async def test_a_function_of_each_language(
    world: GreenCloudWorld, lang: str, file: str, source: str
) -> None:
    """Its answer is the result; an error is 500 with its words."""
    acme = world.acme
    function = await acme.function(lang=lang)
    archive = zipped({file: source})
    answer = await acme.http.post(f"/v1/build/{function}?arch=amd64", content=archive)
    built = {"status": "PENDING"}
    with anyio.fail_after(240):
        while built["status"] in {"PENDING", "BUILDING"}:
            await anyio.sleep(0.05)
            built = await acme.got(f"/v1/build/{answer.json()['id']}")
    assert built["status"] == "SUCCESS", built
    assert any("compiles" in line for line in built["log"])
    answer = await acme.called(f"{function}?a=%201&b", headers={"X-A": "c"})
    assert (answer.status_code, answer.text) == (203, "a=%201&bc")
    failed = await acme.called(function, content=b"fail")
    assert (failed.status_code, failed.json()["error"]) == (500, "FUNCTION_ERROR")
    assert "went wrong" in failed.json()["message"]
