"""What functions print goes through pipes: they can wipe none of it, whoever they run as."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from function_world import FunctionWorld

from taskyard.core import output_index
from taskyard.core.access.work_identity import SERVER, Identity, Sandbox
from taskyard.core.functions.functions import Language
from taskyard.core.states import AttemptState
from taskyard.runtimes.function.instance_output import IDLE_BYTES, MemberOutput
from taskyard.runtimes.processes.bubblewrap import obstacle_to_sandbox
from whole_output import merged

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
OWN = Identity(1_900_000_013, 1_900_000_013)
SHELL = "echo 3 >&2; echo 2 > /dev/stdout; echo 4 | tee /dev/stderr > /dev/null"
PYTHON = f"""
import logging, os, subprocess, sys, time
logging.basicConfig(format='%(message)s')
def handle(request):
    order, _, count = request.text.partition(' ')
    if order == 'again':
        print(1, flush=True)
        print(1, file=sys.stderr, flush=True)
        subprocess.run(['/bin/sh', '-c', {SHELL!r}])
        with open('/dev/stderr', 'w') as file:
            file.write('5\\n')
        print(6)
        print(6, file=sys.stderr)
    if order == 'much':
        for number in range(int(count)):
            print(number)
    if order == 'turns':
        for number in range(1, int(count), 4):
            print(number)
            print(number + 1, file=sys.stderr)
            os.system(f'echo {{number + 2}}; echo {{number + 3}} >&2' if number == 5 else ':')
            if number != 5:
                print(number + 2)
                logging.error(number + 3)
    if order == 'both':
        for number in range(3):
            print('o', flush=True)
            time.sleep(0.1)
            print('e', file=sys.stderr, flush=True)
            time.sleep(0.1)
    return 'fine'
"""
JAVASCRIPT = f"""
const fs = require('node:fs');
const child = require('node:child_process');
module.exports = (request) => {{
  const [order, count] = request.text.split(' ');
  if (order === 'again') {{
    console.log(1);
    console.error(1);
    child.execSync({SHELL!r}, {{ stdio: 'inherit' }});
    fs.writeFileSync('/dev/stderr', '5\\n');
    console.log(6);
    console.error(6);
  }}
  for (let number = 1; order === 'turns' && number < Number(count); number += 2) {{
    console.log(number);
    console.error(number + 1);
  }}
  if (order === 'much') {{
    const numbers = [...Array(Number(count)).keys()];
    process.stdout.write(numbers.slice(0, 9).map((one) => `${{one}}\\n`).join(''));
    fs.writeSync(1, numbers.slice(9).map((one) => `${{one}}\\n`).join(''));
  }}
  return 'fine';
}};
"""
RUBY = f"""
class Handler
  def run(body, _environment)
    order, count = body.string.split(' ')
    if order == 'again'
      puts 1
      warn 1
      system({SHELL!r})
      File.write('/dev/stderr', "5\\n")
      puts 6
      warn 6
    end
    Integer(count).times {{ |number| puts number }} if order == 'much'
    1.step(Integer(count) - 1, 2) {{ |number| puts number; warn number + 1 }} if order == 'turns'
    'fine'
  end
end
"""
GO = f"""
package function

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	handler "github.com/openfaas/templates-sdk/go-http"
)

func Handle(request handler.Request) (handler.Response, error) {{
	order, count, _ := strings.Cut(string(request.Body), " ")
	if order == "again" {{
		fmt.Println(1)
		fmt.Fprintln(os.Stderr, 1)
		command := exec.Command("/bin/sh", "-c", "{SHELL}")
		command.Stdout, command.Stderr = os.Stdout, os.Stderr
		command.Run()
		os.WriteFile("/dev/stderr", []byte("5\\n"), 0o600)
		fmt.Println(6)
		fmt.Fprintln(os.Stderr, 6)
	}}
	var most int
	fmt.Sscan(count, &most)
	for number := 1; order == "turns" && number < most; number += 2 {{
		fmt.Println(number)
		fmt.Fprintln(os.Stderr, number+1)
	}}
	if order == "much" {{
		for number := 0; number < most; number++ {{
			fmt.Println(number)
		}}
	}}
	return handler.Response{{Body: []byte("fine")}}, nil
}}
"""
SOURCES = {
    Language.PYTHON: PYTHON,
    Language.JAVASCRIPT: JAVASCRIPT,
    Language.RUBY: RUBY,
    Language.GO: GO,
}
LANGUAGES = [
    pytest.param(Language.PYTHON),
    pytest.param(Language.JAVASCRIPT, marks=pytest.mark.node),
    pytest.param(Language.RUBY, marks=pytest.mark.ruby),
    pytest.param(Language.GO, marks=pytest.mark.golang),
]


@pytest.fixture(params=["server", "user", "sandbox"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FunctionWorld]:
    """Functions that run as the server does, as a workspace's user, and in a sandbox."""
    if request.param == "user":
        if os.geteuid() != 0:
            pytest.skip("needs root")
        for place in (tmp_path, *tmp_path.parents[:2]):
            place.chmod(0o711)
    if request.param == "sandbox" and (obstacle := obstacle_to_sandbox()) is not None:
        pytest.skip(obstacle)
    world = FunctionWorld(
        tmp_path,
        identity=OWN if request.param == "user" else SERVER,
        sandbox=Sandbox() if request.param == "sandbox" else None,
    )
    await world.open()
    try:
        yield world
    finally:
        await world.close()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_opening_an_output_again_wipes_nothing(
    world: FunctionWorld, language: Language
) -> None:
    """By the handler or a program that it starts; and the next call has its own output only."""
    await world.build(SOURCES[language], language=language)
    for _ in range(2):
        ended = await world.call("again", timeout_s=60.0)
        assert ended.state is AttemptState.SUCCEEDED, ended
        assert await world.output(ended, "stdout") == b"1\n2\n6\n"
        assert await world.output(ended, "stderr") == b"1\n3\n4\n5\n6\n"
    assert (await world.call("", timeout_s=60.0)).inline_output == {}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_much_output_is_complete(fast: FunctionWorld, language: Language) -> None:
    """More than any pipe holds: it is read while the call runs, and is whole at its end."""
    await fast.build(SOURCES[language], language=language)
    count = 100_000
    ended = await fast.call(f"much {count}", timeout_s=60.0)
    assert ended.state is AttemptState.SUCCEEDED, ended
    assert not ended.output_complete
    printed = await fast.output(ended, "stdout")
    assert printed == b"".join(b"%d\n" % one for one in range(count))
    assert ended.stdout.stored_bytes == len(printed)
    directory = anyio.Path(fast.directories.path(ended.attempt_id))
    index = await (directory / "order").read_bytes()
    assert output_index.covered(index) == (len(printed), 0)
    status = await (directory / "stdout").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (os.geteuid(), 0o600)


async def test_what_is_over_the_limit_is_counted(fast: FunctionWorld) -> None:
    """It gets into no file."""
    await fast.build(PYTHON)
    ended = await fast.call("much 20000", log_limit_bytes=20_000)
    size = sum(len(b"%d\n" % one) for one in range(20_000))
    assert (ended.stdout.stored_bytes, ended.stdout.dropped_bytes) == (20_000, size - 20_000)
    assert len(await fast.output(ended, "stdout")) == 20_000


async def test_the_order_of_both_outputs_is_noted(fast: FunctionWorld) -> None:
    """Where a call takes its time, and has it in files."""
    await fast.build(PYTHON)
    ended = await fast.call("both")
    assert not ended.output_complete
    path = anyio.Path(fast.directories.path(ended.attempt_id) / "order")
    records = list(output_index.decode(await path.read_bytes()))
    assert [one.stream for one in records] == [1, 2] * 3


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("count", [40, 4000])
async def test_the_order_is_the_one_of_the_writes(
    fast: FunctionWorld, language: Language, count: int
) -> None:
    """However quickly they follow on each other, and wherever the output is kept."""
    await fast.build(SOURCES[language], language=language)
    ended = await fast.call(f"turns {count}", timeout_s=60.0)
    assert ended.state is AttemptState.SUCCEEDED, ended
    assert ended.output_complete == (count == 40)
    streams = [await fast.output(ended, name) for name in ("stdout", "stderr")]
    if ended.output_complete:
        index = ended.inline_output["order"]
    else:
        directory = anyio.Path(fast.directories.path(ended.attempt_id))
        index = await (directory / "order").read_bytes()
    runs = merged(index, (len(streams[0]), len(streams[1])))
    shown = b"".join(
        streams[run.stream - 1][run.offset : run.offset + run.size_bytes] for run in runs
    )
    assert shown == b"".join(b"%d\n" % (number + 1) for number in range(count))


async def test_what_they_start_has_no_signals_blocked(fast: FunctionWorld) -> None:
    """As the server itself has, which reads some in another way."""
    source = "import signal\ndef handle(_):\n    return str(signal.pthread_sigmask(0, ()))\n"
    await fast.build(source)
    ended = await fast.call("")
    assert ended.result is not None, ended
    assert ended.result.body == b"set()"


async def test_pipes_are_closed_with_their_process(fast: FunctionWorld) -> None:
    """And all of them when the runtime is."""
    await fast.build(PYTHON)
    assert (await fast.call("")).state is AttemptState.SUCCEEDED
    assert fast.runtime._outputs
    await fast.close()
    assert not fast.runtime._outputs


async def test_who_prints_without_end_shares_the_loop(tmp_path: Path) -> None:
    """After so much there are pauses; nothing is lost for that."""
    output = MemberOutput()
    (out, err) = output.ends(None)
    output.begin(tmp_path / "a", 1 << 30)
    written = 0

    def write() -> None:
        nonlocal written
        while written < 8 << 20:
            written += os.write(out.fileno(), b"x" * 65536)

    turns = 0
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, write)
        while written < 8 << 20:
            await anyio.lowlevel.checkpoint()
            turns += 1
    assert output.finish() is None
    assert output.settle()["stdout"].stored_bytes == 8 << 20
    assert turns > 100
    out.close()
    err.close()
    output.close()


async def test_what_nobody_asked_for_is_bounded(tmp_path: Path) -> None:
    """Between two calls little is kept, which the next call gets."""
    output = MemberOutput()
    (out, err) = output.ends(None)
    os.set_blocking(out.fileno(), False)
    with anyio.fail_after(10):
        for _ in range(50):
            os.write(out.fileno(), b"x" * 4096)
            await anyio.sleep(0.005)
    output.begin(tmp_path / "a", 1 << 20)
    os.write(out.fileno(), b"y")
    printed = output.finish()
    out.close()
    err.close()
    output.close()
    assert printed == {"stdout": b"x" * IDLE_BYTES + b"y"}
