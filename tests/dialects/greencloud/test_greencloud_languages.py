"""Functions in languages other than Python, from the upload of a zip archive to the result."""

import pytest
from greencloud_world import GreenCloudWorld, zipped

from eventually import eventually_async

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


@pytest.mark.parametrize(
    ("lang", "file", "source"),
    [
        pytest.param("GO", "handler.go", GO, marks=pytest.mark.golang),
        pytest.param("RB", "handler.rb", RUBY, marks=pytest.mark.ruby),
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
    built = await eventually_async(
        lambda: acme.got(f"/v1/build/{answer.json()['id']}"),
        lambda build: build["status"] not in {"PENDING", "BUILDING"},
        within_s=240,
    )
    assert built["status"] == "SUCCESS", built
    assert any("compiles" in line for line in built["log"])
    answer = await acme.called(f"{function}?a=%201&b", headers={"X-A": "c"})
    assert (answer.status_code, answer.text) == (203, "a=%201&bc")
    failed = await acme.called(function, content=b"fail")
    assert (failed.status_code, failed.json()["error"]) == (500, "FUNCTION_ERROR")
    assert "went wrong" in failed.json()["message"]


@pytest.mark.parametrize(("lang", "name"), [("RS", "rust"), ("CS", "csharp")])
async def test_languages_that_are_images_only(world: GreenCloudWorld, lang: str, name: str) -> None:
    """They can be created, as the contract wants; a build says what to do instead."""
    function = await world.acme.function(lang=lang)
    built = await world.acme.build(function, zipped({"handler.x": "x"}))
    assert built["status"] == "FAILED"
    (said,) = (line for line in built["log"] if "no tool chain" in line)
    assert f"`taskyard function init NAME --language {name}`" in said
    assert (await world.acme.http.post(f"/v1/task/{function}")).status_code == 409
