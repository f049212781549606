"""What modules take hold of when they are imported works in calls, in every language."""

import os
import shutil
from typing import Any

import anyio
import pytest
from function_world import FunctionWorld

from taskyard.core.functions.functions import Language
from taskyard.core.states import AttemptState, Reason

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

GO = """
package function

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"handler/function/near"
	handler "github.com/openfaas/templates-sdk/go-http"
)

var logger = log.New(os.Stdout, "", 0)
var out = os.Stdout
var file, _ = os.Open(os.Getenv("TASKYARD_CODE") + "/data")

func Handle(req handler.Request) (handler.Response, error) {
	switch string(req.Body) {
	case "log":
		logger.Print("logged")
		fmt.Fprintln(out, "printed")
	case "much":
		logger.Print(strings.Repeat("x", 100000))
	case "file":
		content := make([]byte, 6)
		_, err := file.ReadAt(content, 0)
		return handler.Response{Body: content}, err
	case "near":
		return handler.Response{Body: []byte(near.Word)}, nil
	case "control":
		return handler.Response{Header: http.Header{"X-A": {"b\\x01"}}}, nil
	case "noise":
		report := req.Context().Value("taskyard.progress").(func(float64, string))
		for i := 0; i < 4; i++ {
			go func() {
				for {
					report(1, "still here")
				}
			}()
		}
		return handler.Response{Body: []byte(strings.Repeat("y", 9<<20))}, nil
	}
	return handler.Response{}, nil
}
"""
RUBY = """
require 'logger'
require_relative 'near'
LOGGER = Logger.new($stdout, formatter: ->(_, _, _, text) { "#{text}\\n" })
OUT = $stdout
DATA_FILE = File.open(File.join(__dir__, 'data'))

class Handler
  def run(body, headers)
    case body.read
    when 'log'
      LOGGER.info('logged')
      OUT.puts 'printed'
    when 'much' then LOGGER.info('x' * 100_000)
    when 'file'
      DATA_FILE.rewind
      return DATA_FILE.read(6)
    when 'near' then return NEAR
    when 'control' then return '', { 'x-a' => "b\\x01" }
    when 'noise'
      report = headers['taskyard.progress']
      4.times { Thread.new { loop { report.call(1.0, 'still here') } } }
      return 'y' * (9 << 20)
    end
    ''
  end
end
"""
JAVASCRIPT = """
const fs = require('node:fs');
const near = require('./near');
const { log } = console;
const write = process.stdout.write.bind(process.stdout);
const file = fs.openSync(`${__dirname}/data`, 'r');
const thenable = { then(resolve) { setTimeout(() => resolve('later'), 1); } };
module.exports = (request) => {
  if (request.text === 'log') {
    log('logged');
    write('printed\\n');
  }
  if (request.text === 'much') log('x'.repeat(100000));
  if (request.text === 'file') {
    const content = Buffer.alloc(6);
    fs.readSync(file, content, 0, 6, 0);
    return content;
  }
  if (request.text === 'near') return near;
  if (request.text === 'later') return thenable;
  if (request.text === 'control') return { headers: { 'x-a': 'b\\x01' } };
  if (request.text === 'noise') {
    for (let i = 0; i < 1000; i += 1) setImmediate(() => request.progress(1, 'still here'));
    return new Promise((resolve) => { setTimeout(resolve, 1, 'y'.repeat(9 << 20)); });
  }
  return '';
};
"""
FILES: dict[Language, dict[str, str]] = {
    Language.GO: {
        "handler.go": GO,
        "go.mod": "module handler/function\n\ngo 1.16\n",
        "near/near.go": 'package near\n\nconst Word = "beside"\n',
    },
    Language.RUBY: {"handler.rb": RUBY, "near.rb": "NEAR = 'beside'\n"},
    Language.JAVASCRIPT: {"handler.js": JAVASCRIPT, "near.js": "module.exports = 'beside';\n"},
}
LANGUAGES = [
    pytest.param(Language.GO, marks=pytest.mark.golang),
    pytest.param(Language.RUBY, marks=pytest.mark.ruby),
    pytest.param(Language.JAVASCRIPT, marks=pytest.mark.node),
]


async def body(world: FunctionWorld, call: str, **how: Any) -> bytes:
    """What a call answered."""
    ended = await world.call(call, timeout_s=20.0, **how)
    assert ended.state is AttemptState.SUCCEEDED, (call, ended)
    assert ended.result is not None
    return ended.result.body or b""


@pytest.mark.parametrize("language", LANGUAGES)
async def test_import_and_calls(fast: FunctionWorld, language: Language) -> None:
    """References to output, files and modules; answers beside progress; headers of any kind."""
    if language is Language.JAVASCRIPT and shutil.which("node") is None:
        assert os.environ.get("CI") != "true", "continuous integration needs Node.js"
        pytest.skip("there is no node here")
    await fast.build({**FILES[language], "data": "opened\n"}, language=language)
    for call in ("log", "much", "log", "x", "log"):
        ended = await fast.call(call, timeout_s=20.0)
        assert ended.state is AttemptState.SUCCEEDED, (call, ended)
        expected = {"log": b"logged\nprinted\n", "much": b"x" * 100_000 + b"\n", "x": b""}[call]
        assert await fast.output(ended, "stdout") == expected, call
    for _ in range(2):
        assert await body(fast, "file") == b"opened"
    assert await body(fast, "near") == b"beside"
    if language is Language.JAVASCRIPT:
        assert await body(fast, "later") == b"later"
    bad = await fast.call("control", timeout_s=20.0)
    assert bad.reason is Reason.FUNCTION_ERROR, bad
    assert "control character" in (bad.message or "")
    for _ in range(2):
        ended = await fast.call("noise", timeout_s=20.0)
        assert ended.result is not None, ended
        assert ended.result.size_bytes == 9 << 20
        result = fast.directories.path(ended.attempt_id) / "result"
        assert set(await anyio.Path(result).read_bytes()) == {ord("y")}
    assert await body(fast, "near") == b"beside"
