"""How much is measured: the whole, or a quick look."""

import msgspec


class Scale(msgspec.Struct, frozen=True):
    """Rounds, durations (seconds) and counts of every figure."""

    quick: bool
    rounds: int
    warm_up_s: float
    submit_s: float
    commands: int
    spawn_s: float
    latency_tasks: int
    log_lines: int
    kills: int
    waiting_few: int
    waiting_many: int
    flat_submits: int
    flat_dispatches: int
    flat_reads: int
    peer_tasks: int
    slow_peer_tasks: int
    watch_s: float


FULL = Scale(
    quick=False,
    rounds=3,
    warm_up_s=1.0,
    submit_s=5.0,
    commands=3000,
    spawn_s=2.0,
    latency_tasks=300,
    log_lines=500,
    kills=100,
    waiting_few=1_000,
    waiting_many=1_000_000,
    flat_submits=4_000,
    flat_dispatches=400,
    flat_reads=60,
    peer_tasks=3_000,
    slow_peer_tasks=300,
    watch_s=20.0,
)
QUICK = Scale(
    quick=True,
    rounds=1,
    warm_up_s=0.5,
    submit_s=2.0,
    commands=500,
    spawn_s=0.5,
    latency_tasks=100,
    log_lines=150,
    kills=25,
    waiting_few=1_000,
    waiting_many=50_000,
    flat_submits=1_500,
    flat_dispatches=150,
    flat_reads=30,
    peer_tasks=1_000,
    slow_peer_tasks=150,
    watch_s=5.0,
)
