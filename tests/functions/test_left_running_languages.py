"""What calls in other languages left running says and does nothing in later calls."""

import os
import shutil

import anyio
import pytest
from function_world import FunctionWorld

from taskyard.core.functions.functions import Language
from taskyard.core.states import AttemptState

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

GO = """
package function

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"
)

var server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))

func later(what string) {
	switch what {
	case "print":
		fmt.Println("late")
	case "descriptor":
		os.NewFile(1, "out").WriteString("late\\n")
	case "exit":
		os.Exit(7)
	}
}

func beat(what string) {
	for {
		time.Sleep(80 * time.Millisecond)
		later(what)
	}
}

func Handle(req handler.Request) (handler.Response, error) {
	fmt.Println("from", string(req.Body))
	switch string(req.Body) {
	case "leave routine print", "leave routine descriptor", "leave routine exit":
		go beat(string(req.Body[len("leave routine "):]))
	case "leave method print":
		beats := func(http.ResponseWriter, *http.Request) { beat("print") }
		go http.HandlerFunc(beats).ServeHTTP(nil, nil)
	case "leave sleep print":
		go time.Sleep(time.Hour)
	case "leave child print":
		child := exec.Command("/bin/sh", "-c", "while :; do sleep 0.01; echo late; done")
		child.Stdout = os.Stdout
		child.Start()
	case "stay":
		time.Sleep(180 * time.Millisecond)
	case "wait":
		var group sync.WaitGroup
		results := make(chan int)
		for i := 0; i < 4; i++ {
			group.Add(1)
			go func() { defer group.Done(); results <- 1 }()
		}
		for i := 0; i < 4; i++ {
			<-results
		}
	case "fetch":
		if answer, err := http.Get(server.URL); err == nil {
			answer.Body.Close()
		}
	}
	return handler.Response{Body: []byte(strconv.Itoa(os.Getpid()))}, nil
}
"""
GO_TIMER = """
package function

import (
	"fmt"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"
)

func Handle(req handler.Request) (handler.Response, error) {
	fmt.Println("from", string(req.Body))
	if string(req.Body) == "stay" {
		time.Sleep(180 * time.Millisecond)
	} else if string(req.Body) != "x" {
		time.AfterFunc(80*time.Millisecond, func() { fmt.Println("late") })
	}
	return handler.Response{}, nil
}
"""
RUBY = """
require 'timeout'
class Handler
  LATER = {
    'print' => -> { puts 'late' },
    'original' => -> { STDOUT.puts 'late' },
    'descriptor' => -> { IO.for_fd(1, 'w', autoclose: false).syswrite("late\\n") },
    'system' => -> { system('echo late') },
    'exit' => -> { exit!(7) },
    'abort' => -> { Thread.main.raise('late') }
  }.freeze

  def run(body, headers)
    what, how, kind = body.string.split
    puts "from #{what}"
    case what
    when 'leave'
      later = LATER[kind]
      case how
      when 'thread' then Thread.new { loop { sleep 0.08; later.call } }
      when 'child' then spawn('while :; do sleep 0.01; echo late; done')
      when 'fork' then fork { loop { sleep 0.01; later.call } }
      when 'io' then IO.popen('sleep 3600')
      end
    when 'stay' then sleep 0.15
    when 'timeout' then Timeout.timeout(5) { sleep 0.001 }
    end
    Process.pid.to_s
  end
end
"""
JAVASCRIPT = """
const fs = require('node:fs');
const child = require('node:child_process');
const threads = require('node:worker_threads');
const { writeSync } = require('node:fs');
const { exit } = process;
const LATER = {
  print: () => console.log('late'),
  descriptor: () => fs.writeSync(1, 'late\\n'),
  destructured: () => writeSync(1, Buffer.from('late\\n')),
  callback: () => fs.write(1, 'late\\n', () => {}),
  vector: () => fs.writevSync(1, [Buffer.from('late\\n')]),
  file: () => fs.writeFileSync(1, 'late\\n'),
  append: () => fs.appendFileSync(1, 'late\\n'),
  stream: () => fs.createWriteStream(null, { fd: 1, autoClose: false }).write('late\\n'),
  inherit: () => child.spawnSync('echo', ['late'], { stdio: 'inherit' }),
  spawn: () => child.spawn('echo', ['late'], { stdio: 'inherit' }),
  shell: () => child.execSync('echo late', { stdio: 'inherit' }),
  worker: () => new threads.Worker('console.log("late")', { eval: true }),
  exit: () => process.exit(7),
  taken: () => exit(7),
  abort: () => process.abort(),
  kill: () => process.kill(process.pid, 'SIGKILL'),
  throw: () => { throw new Error('late'); },
  reject: () => { Promise.reject(new Error('late')); },
};
const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
module.exports = async (request) => {
  const [what, how, kind] = request.text.split(' ');
  console.log('from', what);
  if (what === 'leave') {
    const later = LATER[kind];
    if (how === 'timer') setTimeout(later, 80);
    if (how === 'interval') setInterval(later, 80);
    if (how === 'promise') sleep(80).then(later);
    if (how === 'worker') {
      const text = kind === 'print' ? 'console.log("late")' : 'require("fs").writeSync(1, "late")';
      const worker = new threads.Worker(`setInterval(() => { ${text} }, 10)`, { eval: true });
      await new Promise((resolve) => { worker.once('online', resolve); });
    }
    const loop = ['-c', 'while :; do sleep 0.01; echo late; done'];
    if (how === 'child') child.spawn('/bin/sh', loop, { stdio: 'inherit' });
    const apart = { stdio: 'inherit', detached: true };
    if (how === 'detached') child.spawn('/bin/sh', loop, apart).unref();
  }
  if (what === 'stay') await sleep(150);
  if (what === 'work') {
    const worker = new threads.Worker('0', { eval: true });
    await new Promise((resolve) => { worker.once('exit', resolve); });
  }
  if (what === 'write') {
    fs.writeSync(1, 'written\\n');
    child.execSync('echo run', { stdio: 'inherit' });
  }
  return String(process.pid);
};
"""


async def build(world: FunctionWorld, language: Language, source: str) -> None:
    """Deploy it, and have one process, which gets all calls."""
    if language is Language.JAVASCRIPT and shutil.which("node") is None:
        assert os.environ.get("CI") != "true", "continuous integration needs Node.js"
        pytest.skip("there is no node here")
    await world.build(source, language=language)
    await world.call("x", timeout_s=20.0)
    (pool,) = world.runtime._pools.values()
    with anyio.fail_after(20):
        while not all(one.ready for one in pool.instances.values()):  # noqa: ASYNC110 - tells nobody
            await anyio.sleep(0.01)


async def check(world: FunctionWorld, calls: tuple[str, ...], left: str) -> None:
    """What is left is in no later call."""
    for call in calls:
        ended = await world.call(call, timeout_s=20.0)
        assert ended.state is AttemptState.SUCCEEDED, (left, ended)
        assert await world.output(ended, "stdout") == f"from {call}\n".encode(), left
        assert await world.output(ended, "stderr") == b"", left


LEFT = {
    Language.GO: (
        GO,
        "routine print, routine descriptor, routine exit, method print, sleep print, child print",
    ),
    Language.RUBY: (
        RUBY,
        "thread print, thread original, thread descriptor, thread system, thread exit,"
        " thread abort, child x, fork print, fork descriptor, io x",
    ),
    Language.JAVASCRIPT: (
        JAVASCRIPT,
        "timer print, interval print, promise print, timer descriptor, timer destructured,"
        " timer callback, timer vector, timer file, timer append, timer stream, timer inherit,"
        " timer spawn, timer shell, timer worker, timer exit, timer taken, timer abort, timer kill,"
        " timer throw, timer reject, promise descriptor, promise exit, worker print,"
        " worker descriptor, child print, detached print",
    ),
}
MARKS = {
    Language.GO: pytest.mark.golang,
    Language.RUBY: pytest.mark.ruby,
    Language.JAVASCRIPT: pytest.mark.node,
}


@pytest.mark.parametrize("language", [pytest.param(one, marks=MARKS[one]) for one in LEFT])
async def test_it_says_nothing_in_later_calls(fast: FunctionWorld, language: Language) -> None:
    """They succeed, and print what they print."""
    source, ways = LEFT[language]
    await build(fast, language, source)
    for left in ways.split(", "):
        ended = await fast.call(f"leave {left.strip()}", timeout_s=20.0)
        assert ended.state is AttemptState.SUCCEEDED, (left, ended)
        assert (await fast.output(ended, "stdout")).startswith(b"from leave")
        await check(fast, ("stay", "stay"), left)


@pytest.mark.golang
async def test_timers_of_go_say_nothing_in_later_calls(fast: FunctionWorld) -> None:
    """Though nobody can see them: a process of a function that has any takes one call."""
    await build(fast, Language.GO, GO_TIMER)
    assert (await fast.call("leave", timeout_s=20.0)).state is AttemptState.SUCCEEDED
    await check(fast, ("stay",), "timer")


@pytest.mark.parametrize(
    ("language", "calls"),
    [
        pytest.param(Language.GO, "x wait fetch wait fetch x", marks=MARKS[Language.GO]),
        pytest.param(Language.RUBY, "x timeout x timeout", marks=MARKS[Language.RUBY]),
        pytest.param(Language.JAVASCRIPT, "x work write x stay", marks=MARKS[Language.JAVASCRIPT]),
    ],
)
async def test_a_process_that_is_left_nothing_goes_on(
    fast: FunctionWorld, language: Language, calls: str
) -> None:
    """What is about to end, and what libraries keep, is no reason to end it."""
    await build(fast, language, LEFT[language][0])
    pids = set()
    for call in calls.split():
        ended = await fast.call(call, timeout_s=20.0)
        assert ended.result is not None, ended
        pids.add(ended.result.body)
    assert len(pids) == 1, pids
