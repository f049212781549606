"""The checks beyond form that a task has to pass: what is switched off, and what has no room."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from taskyard.core.scheduling.policies import Policy
from taskyard.dialects.drove import schemas as wire
from taskyard.dialects.drove.checks import ARGS_LIMIT
from taskyard.dialects.drove.errors import Refused
from taskyard.dialects.drove.executors import Executor, capacity_problems, present
from taskyard.dialects.drove.placement import (
    LocalRefused,
    RuleRefused,
    engine_policy,
    without_rules,
)
from taskyard.dialects.drove.ruledata import RuleData
from taskyard.dialects.drove.settings import DroveSettings
from taskyard.services.engine import Engine


def asked_of(spec: wire.WireSpec) -> tuple[int, int]:
    """Cores and MB in all; several of one kind are summed."""
    resources = spec.resources or ()
    return (
        sum(one.count for one in resources if isinstance(one, wire.Cpu)),
        sum(one.sizeInMB for one in resources if isinstance(one, wire.Memory)),
    )


def check_business(engine: Engine, settings: DroveSettings, spec: wire.WireSpec) -> Policy:
    """The engine's policy for a well-formed task.

    Raises :class:`Refused` with everything that speaks against it.
    """
    executors = present(engine)
    problems = _switched_off(settings, spec)
    policy: Policy | None = None
    local: list[str] = []
    try:
        policy = policy_of(executors, spec)
    except Refused as error:
        local = error.problems
    if policy is not None:
        cores, memory_mb = asked_of(spec)
        problems += capacity_problems(executors, without_rules(policy), cores, memory_mb)
    problems += local
    if problems or policy is None:
        raise Refused(problems)
    return policy


def policy_of(executors: Sequence[Executor], spec: wire.WireSpec) -> Policy:
    """The engine's policy for a well-formed task. Raises :class:`Refused`."""
    data = RuleData(spec.env or {}, {one.id: one.record.id for one in executors})
    try:
        return engine_policy(spec.placementPolicy, data)
    except (LocalRefused, RuleRefused) as error:
        raise Refused([str(error)]) from error


def _switched_off(settings: DroveSettings, spec: wire.WireSpec) -> list[str]:
    problems = [
        f"Volume mount requested on non whitelisted host directory: {volume.pathOnHost}"
        for volume in spec.volumes or ()
        if not _is_below(volume.pathOnHost or "", settings.allowed_mount_dirs or ())
    ]
    args = spec.args or []
    if args and not settings.args:
        problems.append("Passing command line args is disabled on this cluster")
    elif len(" ".join(args)) > ARGS_LIMIT:
        problems.append(f"args have more than {ARGS_LIMIT} characters when they are joined")
    if spec.devices and not settings.devices:
        problems.append("Device access is disabled on this cluster")
    problems += [
        f"Config {config.localFilename}: {config.filePathOnHost} is in no directory that "
        "configurations may be taken from"
        for config in spec.configs or ()
        if isinstance(config, wire.HostFileConfig)
        and not _is_below(config.filePathOnHost or "", settings.config_dirs)
    ]
    return problems


def _is_below(path: str, directories: tuple[str, ...]) -> bool:
    """Whether a path is one of these directories or in one of them, as it is written."""
    asked = PurePosixPath(path)
    return ".." not in asked.parts and any(asked.is_relative_to(one) for one in directories)
