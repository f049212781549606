"""A call that closes its output takes away nobody else's, in every language."""

import pytest
from function_world import FunctionWorld

from taskyard.core.functions.functions import Language
from taskyard.core.states import AttemptState

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

PYTHON = """
import os, sys
def handle(request):
    print("from", request.text)
    print("and", request.text, file=sys.stderr)
    if request.text == "descriptors":
        sys.stdout.flush()
        os.close(1)
        os.close(2)
    elif request.text == "stream":
        sys.stdout.close()
    elif request.text == "elsewhere":
        sys.stdout.flush()
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    return str(os.getpid())
"""
JAVASCRIPT = """
const fs = require('node:fs');
module.exports = (request) => {
  const what = request.body.toString();
  console.log(`from ${what}`);
  console.error(`and ${what}`);
  if (what === 'descriptors') {
    fs.closeSync(1);
    fs.closeSync(2);
  } else if (what === 'stream') {
    process.stdout.end();
  }
  return String(process.pid);
};
"""
RUBY = """
class Handler
  def run(body, headers)
    $stdout.puts "from #{body}"
    $stderr.puts "and #{body}"
    case body.to_s
    when 'stream' then $stdout.close
    when 'elsewhere' then $stdout.reopen('/dev/null')
    end
    Process.pid.to_s
  end
end
"""
GO = """
package function

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	handler "github.com/openfaas/templates-sdk/go-http"
)

func Handle(request handler.Request) (handler.Response, error) {
	what := string(request.Body)
	fmt.Println("from", what)
	fmt.Fprintln(os.Stderr, "and", what)
	switch what {
	case "descriptors":
		syscall.Close(1)
		syscall.Close(2)
	case "elsewhere":
		null, _ := os.OpenFile("/dev/null", os.O_WRONLY, 0)
		syscall.Dup3(int(null.Fd()), 1, 0)
	}
	return handler.Response{Body: []byte(strconv.Itoa(os.Getpid()))}, nil
}
"""


@pytest.mark.parametrize(
    ("language", "source", "ways"),
    [
        pytest.param(Language.PYTHON, PYTHON, "descriptors stream elsewhere", id="python"),
        pytest.param(
            Language.JAVASCRIPT, JAVASCRIPT, "descriptors stream", id="js", marks=pytest.mark.node
        ),
        pytest.param(Language.RUBY, RUBY, "stream elsewhere", id="ruby", marks=pytest.mark.ruby),
        pytest.param(Language.GO, GO, "descriptors elsewhere", id="go", marks=pytest.mark.golang),
    ],
)
async def test_later_calls_still_print(
    fast: FunctionWorld, language: Language, source: str, ways: str
) -> None:
    """The process whose streams are gone is not used again."""
    await fast.build(source, language=language)
    for way in ways.split():
        pids = []
        for call in (way, "x", "y"):
            ended = await fast.call(call, timeout_s=20.0)
            assert ended.state is AttemptState.SUCCEEDED, (way, call, ended)
            assert ended.result is not None
            pids.append(ended.result.body)
            assert await fast.output(ended, "stdout") == f"from {call}\n".encode(), (way, call)
            assert await fast.output(ended, "stderr") == f"and {call}\n".encode(), (way, call)
        assert pids[0] not in pids[1:], (way, pids)
