"""What runs behind the engine: on every control plane, and on the one that leads."""

from functools import partial
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.server.membership import Membership
from taskyard.server.metrics import Metrics
from taskyard.server.wiring.wired import Wired
from taskyard.services.engine import Engine
from taskyard.services.leadership import Duties
from taskyard.services.loops import Loop

USES_EVERY_S: Final = 60.0

log = structlog.get_logger(__name__)


def loops_of_all(wired: Wired, metrics: Metrics) -> dict[str, Loop]:
    """What every control plane does until it is stopped."""
    engine = wired.engine
    loops: dict[str, Loop] = {
        "leases": wired.leases.run,
        "output_totals": engine.output.run,
        "lists": engine.lists.run,
        "builds": engine.functions.run,
        "lag": metrics.measure_lag,
        "token_uses": partial(write_uses, engine),
    }
    if wired.joined is not None:
        loops["joined_leases"] = wired.joined.beats.run
    others = wired.others
    if others is not None:
        loops |= {
            "workers": others.leader.run,
            "kills": wired.kill.run,
            "placed": others.placing.run,
            "borrowing": others.leader.borrowed.run,
        }
    return loops


def duties_of_leader(
    wired: Wired, metrics: Metrics, tasks: TaskGroup, member: Membership | None
) -> Duties:
    """What only the leader does.

    Args:
        wired: all services.
        metrics: count failures.
        tasks: outlives all of it; what has to end gracefully runs in it.
        member: this plane among several; None if there is only one.
    """
    engine, objects, fleet = wired.engine, wired.object_sweep, wired.fleet
    others = wired.others
    loops: dict[str, Loop] = {
        "dispatch": engine.dispatch.run,
        "due": wired.due.run,
        "clock": wired.clock_watch.run,
        "retention": wired.prune.run,
        "bundles": wired.bundle_sweep.run,
        "jobs": wired.job_keeping.run,
        "triggers": wired.triggers.run,
        "webhooks": lambda: engine.webhooks.run(tasks),
    }
    if objects is not None:
        loops["objects"] = objects.run
    if metrics.cluster is not None:
        loops["database"] = metrics.cluster.run
    if member is None or fleet is None or others is None:
        loops["rescue"] = wired.rescue.run

        async def load() -> None:
            await engine.dispatch.load()
            await wired.rescue.load()

        return Duties(load, loops, failed=metrics.count_loop_failure)

    async def answer_others() -> None:
        async with member.messages.leading():
            await anyio.sleep_forever()

    async def enter() -> None:
        await engine.dispatch.load()
        await fleet.enter()

    async def leave() -> None:
        engine.dispatch.drop()
        fleet.drop()
        others.lent.drop()

    loops |= {"fleet": fleet.run, "answers": answer_others}
    return Duties(enter, loops, leave, metrics.count_loop_failure)


async def write_uses(engine: Engine) -> None:
    """Note now and then when tokens were last used, and how often attempts were refused."""
    while True:
        await anyio.sleep(USES_EVERY_S)
        try:
            await engine.access.write_uses()
        except (Unavailable, Overloaded) as error:
            log.warning("token_uses_not_written", reason=str(error))
        await write_refusals(engine)


async def write_refusals(engine: Engine) -> None:
    """Note what was gathered last, before the store is closed."""
    try:
        await engine.audit.write_refusals()
    except Unavailable as error:
        log.warning("refusals_not_written", reason=str(error))
