"""What befalls several planes, and what they live on; each fault is mended before the next."""

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx2
from planes import Planes
from stalls import Stalls

from eventually import eventually
from lone_postgres import LonePostgres
from taskyard.ports.dispatching import LEASE_S


@dataclass(frozen=True)
class Death:
    """What the death of a leader cost, in seconds."""

    leaderless_s: float
    """Until another one led."""
    stopped_s: float
    """Until that one had placed something."""
    stalled_s: float
    """How much of it the machine kept those who were left from running."""


@dataclass
class Faults:
    """Faults in turns.

    Args:
        planes: whom they befall.
        postgres: their database.
        chance: decides when, and what comes after each has come once.
    """

    planes: Planes
    postgres: LonePostgres
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    deaths: list[Death] = field(default_factory=list)
    """Of leaders."""

    def run(self, seconds: float) -> None:
        """Each of them once, and more until the time is over."""
        until = time.monotonic() + seconds
        for name, fault in self._in_turns():
            fault()
            self.done[name] += 1
            time.sleep(self.chance.uniform(0.2, 1.5))
            if time.monotonic() > until and len(self.done) == len(self._all()):
                return

    def _in_turns(self) -> Iterator[tuple[str, Callable[[], None]]]:
        while True:
            turn = list(self._all().items())
            self.chance.shuffle(turn)
            yield from turn

    def _all(self) -> dict[str, Callable[[], None]]:
        return {
            "leader killed": self.kill_leader,
            "plane killed": self.kill,
            "leader frozen past its lease": self.freeze_leader,
            "leader's store frozen": self.freeze_store_of_leader,
            "plane frozen": self.freeze,
            "NATS restarted": self.planes.restart_nats,
            "connections cut": self.postgres.cut,
            "PostgreSQL crashed": self.postgres.restart,
            "PostgreSQL frozen": self.freeze_postgres,
        }

    def kill_leader(self) -> None:
        """SIGKILL for whoever leads; another one has to lead soon, and to place what waits."""
        leader = self.planes.await_leader()
        number = self.planes.number_of(leader)
        assert number is not None
        others = [one for one in self.planes.all if one is not self.planes.all[number]]
        stalls = Stalls([[one.pid, *one.store_pids()] for one in others])
        self.planes.kill(number)
        began, died_at = time.monotonic(), time.time_ns() // 1000
        self.planes.ask("POST", "/tasks", json={"command": "true"}).raise_for_status()
        eventually(self.planes.leader, lambda found: found not in {None, leader}, within_s=20)
        leaderless_s = time.monotonic() - began
        placed_at = eventually(
            lambda: self._placed_since(died_at), lambda found: found is not None, within_s=20
        )
        assert placed_at is not None
        stopped_s = (placed_at - died_at) / 1e6
        self.deaths.append(Death(leaderless_s, stopped_s, stalls.longest_s()))
        self._start_again(number)

    def _placed_since(self, at: int) -> int | None:
        """When the first attempt was placed that was decided on then; in microseconds."""
        first = f"{at // 1000 + 1:012x}"
        (found,) = self.planes.rows(
            "SELECT min(assigned_at) FROM attempts"  # noqa: S608 - a number
            f" WHERE id > '{first[:8]}-{first[8:]}' AND assigned_at > {at}"
        )
        return None if found[0] is None else int(found[0])

    def kill(self) -> None:
        """SIGKILL for any plane."""
        number = self._any()
        self.planes.kill(number)
        time.sleep(self.chance.uniform(0, 4))
        self._start_again(number)

    def freeze_leader(self) -> None:
        """SIGSTOP until the worker beside it is lost, and what it ran goes on elsewhere."""
        number = self.planes.number_of(self.planes.await_leader())
        assert number is not None
        self._freeze(number, LEASE_S + self.chance.uniform(1, 4))

    def freeze_store_of_leader(self) -> None:
        """SIGSTOP for the process that writes for the leader, until another one leads: what the
        leader had decided is stored only then, if anybody lets it.
        """
        leader = self.planes.await_leader()
        number = self.planes.number_of(leader)
        assert number is not None
        self.planes.freeze_store(number)
        asking = [
            threading.Thread(target=self._ask_for_room, args=(number,), daemon=True)
            for _ in range(3)
        ]
        for one in asking:
            one.start()
        eventually(self.planes.leader, lambda found: found not in {None, leader}, within_s=20)
        self.planes.thaw(number)
        for one in asking:
            one.join(30)

    def _ask_for_room(self, number: int) -> None:
        """Ask for a task in a workspace that has room; the answer may come late, or never."""
        query = {"api_key": "dev", "workspace_id": "spare"}
        body = {"name": "spare", "type": "gx.tiny", "command": "true"}
        with contextlib.suppress(httpx2.TransportError), self.planes.client(number) as client:
            client.post(f"{self.planes.all[number].url}/gx/tasks", params=query, json=body)

    def freeze(self) -> None:
        """SIGSTOP for a while: for less than a heartbeat, or longer than a leader holds."""
        self._freeze(self._any(), self.chance.uniform(0.5, 6))

    def freeze_postgres(self) -> None:
        """It answers nothing for a while."""
        self.postgres.freeze()
        time.sleep(self.chance.uniform(0.5, 4))
        self.postgres.thaw()

    def _freeze(self, number: int, seconds: float) -> None:
        self.planes.freeze(number)
        time.sleep(seconds)
        self.planes.thaw(number)

    def _start_again(self, number: int) -> None:
        self.planes.start_again(number)
        self.planes.all[number].await_ready()

    def _any(self) -> int:
        return self.chance.randrange(len(self.planes.all))
