"""What befalls several planes, and what they live on; each fault is mended before the next."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from planes import Planes

from eventually import eventually
from lone_postgres import LonePostgres
from taskyard.ports.dispatching import LEASE_S

LEADERLESS_S = 5.0
"""For so long nobody leads after a leader's death, at most."""


@dataclass
class Faults:
    """Faults in turns.

    Args:
        planes: whom they befall.
        postgres: their database.
        chance: decides when, and what comes after each has come once.
        kinds: which of them, by name; all if None.
    """

    planes: Planes
    postgres: LonePostgres
    chance: random.Random
    kinds: tuple[str, ...] | None = None
    done: Counter[str] = field(default_factory=Counter)
    deaths: list[int] = field(default_factory=list)
    """When leaders were killed, in microseconds."""
    leaderless: list[float] = field(default_factory=list)
    """Seconds until another one led."""

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
        every = {
            "leader killed": self.kill_leader,
            "plane killed": self.kill,
            "leader frozen past its lease": self.freeze_leader,
            "plane frozen": self.freeze,
            "NATS restarted": self.planes.restart_nats,
            "connections cut": self.postgres.cut,
            "PostgreSQL crashed": self.postgres.restart,
            "PostgreSQL frozen": self.freeze_postgres,
        }
        return {name: every[name] for name in self.kinds or every}

    def kill_leader(self) -> None:
        """SIGKILL for whoever leads; another one has to lead soon."""
        leader = self.planes.await_leader()
        number = self.planes.number_of(leader)
        assert number is not None
        self.planes.kill(number)
        began = time.monotonic()
        self.deaths.append(time.time_ns() // 1000)
        eventually(self.planes.leader, lambda found: found not in {None, leader}, within_s=20)
        self.leaderless.append(time.monotonic() - began)
        self._start_again(number)

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
