"""The way from one machine to three, as it is printed: every command and every file."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx2
import pytest

from eventually import eventually
from lone_postgres import lone_postgres
from natsserver import nats_server
from served import Served, free_port

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md"
PROGRAM: Final = str(Path(sys.executable).with_name("taskyard"))


class Instructions:
    """The section, with the names of this machine in place of those of the example.

    Args:
        names: what to put in place of what.
    """

    def __init__(self, names: dict[str, str]) -> None:
        text = PAGE.read_text()
        section = text.partition("## From one machine to three")[2].partition("\n## ")[0]
        self._blocks = re.findall(r"^ +```(\w+)\n(.*?)^ +```", section, re.MULTILINE | re.DOTALL)
        self._names = names
        self.ran: set[str] = set()

    def block(self, language: str, has: str) -> str:
        """The one block in this language with these words, adapted."""
        (found,) = [text for name, text in self._blocks if name == language and has in text]
        for theirs, ours in self._names.items():
            found = found.replace(theirs, ours)
        return "\n".join(line.removeprefix("   ") for line in found.splitlines())

    def command(self, has: str) -> list[str]:
        """The one command with these words, adapted."""
        words = self._words(f".*{re.escape(has)}")
        assert words[0] == "taskyard"
        return words[1:]

    def exported(self) -> dict[str, str]:
        """What the shell is told to hand on to commands, until it is told not to."""
        command, assigned = self._words("export ")
        assert command == "export"
        name, _, value = assigned.partition("=")
        assert self._words("unset ") == ["unset", name]
        return {name: value}

    def _words(self, pattern: str) -> list[str]:
        (line,) = [one for one in self.commands() if re.match(pattern, one)]
        self.ran.add(line)
        for theirs, ours in self._names.items():
            line = line.replace(theirs, ours)
        return shlex.split(line)

    def commands(self) -> set[str]:
        """All that are printed."""
        text = "\n".join(text for name, text in self._blocks if name == "console")
        return set(re.findall(r"^ *\$ (.+)$", text, re.MULTILINE))


def run(words: list[str], **env: str) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run(
        [PROGRAM, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | env,
    )
    assert done.returncode == 0, (words, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


@contextmanager
def up(words: list[str], data: Path) -> Iterator[str]:
    """A server begun by this command; its address."""
    port = free_port()
    with data.with_suffix(".log").open("wb") as log:
        server = subprocess.Popen(
            [PROGRAM, *words, "--port", str(port), "--data", str(data)], stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{port}"

            def ready() -> bool:
                try:
                    return httpx2.get(f"{url}/health/ready", trust_env=False).status_code == 200
                except httpx2.TransportError:
                    return False

            eventually(ready, of=data.with_suffix(".log").read_text, within_s=60)
            yield url
        finally:
            server.terminate()
            server.wait(30)
            Served(data).end()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_the_way_to_three_machines_can_be_gone_as_it_is_printed(tmp_path: Path) -> None:
    """From an installation on SQLite to three control planes that know what it knew."""
    old, config = tmp_path / "old", tmp_path / "taskyard.toml"
    nats_config = tmp_path / "nats.conf"
    names = {
        "postgresql://taskyard@db.example/taskyard": "",
        "nats.example:4222": "",
        "/etc/taskyard.toml": str(config),
        "0.0.0.0": "127.0.0.1",  # noqa: S104 - what the page says
        "ROLE taskyard": "ROLE made_as_printed",
        "DATABASE taskyard OWNER taskyard": "DATABASE printed OWNER made_as_printed",
    }
    page = Instructions(names)
    with up(["up"], old) as url:
        made = run(["token", "create", "old", "--role", "admin", "--data", str(old)])
        assert made
        told = run(["submit", "--data", str(old), "--json", "--", "echo", "before"])
        assert url
        assert told
    nats_config.write_text(re.sub(r"listen: .*", "", page.block("text", "authorization")))
    with (
        lone_postgres(durable=True) as database,
        nats_server(tmp_path, "-c", str(nats_config)) as nats,
    ):
        for statement in page.block("sql", "CREATE ROLE").split(";"):
            if statement.strip():
                database.run(statement)
        address = database.url("printed").partition("@")[2]
        names["postgresql://taskyard@db.example/taskyard"] = (
            f"postgresql://made_as_printed@{address}"
        )
        names["nats.example:4222"] = nats.url.removeprefix("nats://")
        config.write_text(page.block("toml", "database_password"))
        config.chmod(0o600)
        secrets = page.exported() | {"TASKYARD_NATS_PASSWORD": "another long one"}
        run([*page.command("doctor"), "--data", str(tmp_path / "none")], **secrets)
        names["/var/lib/taskyard"] = str(old)
        run(page.command("store copy"), **secrets)
        machines = [tmp_path / name for name in ("forge", "anvil", "bellows")]
        for machine in machines:
            machine.mkdir(mode=0o711)
            if (old / "secret.key").exists():
                shutil.copy(old / "secret.key", machine)
        names["/var/lib/taskyard"] = str(machines[0])
        with up(page.command("taskyard up"), machines[0]):
            run(page.command("token create"))
            for machine in machines[1:]:
                shutil.copy(machines[0] / "secret.key", machine)
            with (
                up(page.command("taskyard up"), machines[1]),
                up(page.command("taskyard up"), machines[2]),
            ):
                seen = run(page.command("cluster status"))
                assert seen.count("following") == 2
                assert seen.count("leading") == 1
                assert "before" in run(["ls", "--json", "--data", str(machines[2])])
    assert page.ran == page.commands()
