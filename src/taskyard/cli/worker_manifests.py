"""Files with which other schedulers start workers.

A credential is one worker's, so each worker finds its own join string: in a file, or as a member of
a secret, under its name. The join strings themselves are in none of these files.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Final, Literal
from urllib.parse import quote

from taskyard.cli.errors import UsageError

Scheduler = Literal["systemd", "slurm", "kubernetes", "nomad"]

_MIB: Final = 1 << 20
_SPARE_S: Final = 30
"""Seconds between the end of the worker's drain and the scheduler's SIGKILL."""
_LONGEST_S: Final = 365 * 86_400.0
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,50}")
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
_SERVER: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,255}/?")
_PROGRAM: Final = re.compile(r"[A-Za-z0-9._/+-]{1,255}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the files are to say."""

    name: str = "taskyard-worker"
    """Of the job; with several workers also how their names begin."""
    image: str = "taskyard"
    """Image that has the program."""
    program: str = "/opt/taskyard/bin/taskyard"
    """The program where there is no image."""
    workers: int = 2
    cpu: int = 2
    """Cores of each worker."""
    memory_bytes: int = 4 << 30
    """Of each worker."""
    walltime_s: float = 3600.0
    """Seconds for which a batch system lets a worker run."""
    drain_s: float = 300.0
    """Seconds that what runs gets to end in once the scheduler stops a worker."""
    server: str | None = None
    """Where the API is that says how many workers are wanted; None: always all of them."""
    group: str = "default"
    """Whose tasks those workers are for."""


DEFAULTS: Final = Wanted()


def manifest(scheduler: Scheduler, wanted: Wanted) -> str:
    """A file for a scheduler. Raises ``UsageError`` for what cannot be said in one."""
    _check(wanted)
    minutes = math.ceil(wanted.walltime_s / 60)
    stop_s = math.ceil(wanted.drain_s) + _SPARE_S
    if scheduler == "slurm" and minutes * 60 <= stop_s:
        raise UsageError(
            f"--walltime: has to be longer than --drain and the {_SPARE_S} s after it; otherwise a"
            " worker is stopped as soon as it starts"
        )
    scaled = scheduler == "kubernetes" and wanted.server is not None
    template = _Text(_TEMPLATES[scheduler].template + _KEDA) if scaled else _TEMPLATES[scheduler]
    text = template.substitute(
        name=wanted.name,
        image=wanted.image,
        program=wanted.program,
        workers=wanted.workers,
        last=wanted.workers - 1,
        cpu=wanted.cpu,
        mib=max(1, wanted.memory_bytes // _MIB),
        minutes=minutes,
        lifetime_s=max(1, minutes * 60 - stop_s),
        drain_s=math.ceil(wanted.drain_s),
        stop_s=stop_s,
        server=(wanted.server or "").rstrip("/"),
        group=quote(wanted.group, safe=""),
    )
    # Two who say how many there are would undo each other's work.
    return text.replace(f"  replicas: {wanted.workers}\n", "") if scaled else text


def _check(wanted: Wanted) -> None:
    for option, value, pattern in (
        ("--name", wanted.name, _NAME),
        ("--image", wanted.image, _IMAGE),
        ("--program", wanted.program, _PROGRAM),
    ):
        if pattern.fullmatch(value) is None:
            raise UsageError(f"{option}: {value!r} has characters that cannot be in one")
    if wanted.server is not None and _SERVER.fullmatch(wanted.server) is None:
        raise UsageError(f"--server: {wanted.server!r} is no address, such as http://taskyard:8000")
    if not 1 <= len(wanted.group) <= 255:
        raise UsageError("--group: needs 1 to 255 characters")
    for option, duration_s in (("--walltime", wanted.walltime_s), ("--drain", wanted.drain_s)):
        if not duration_s <= _LONGEST_S:
            raise UsageError(f"{option}: cannot be longer than a year")
    for option, number in (("--workers", wanted.workers), ("--cpu", wanted.cpu)):
        if not 1 <= number <= 10_000:
            raise UsageError(f"{option}: has to be from 1 to 10000")


class _Text(Template):
    """Members are written ``~{name}``: files have dollar signs of their own."""

    delimiter = "~"


_SYSTEMD: Final = """\
# /etc/systemd/system/~{name}.service
# The join string, of 'taskyard worker token NAME', goes to /etc/taskyard/~{name}.join, mode 0600.

[Unit]
Description=Taskyard worker
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
# It is ready once a control plane has taken it, and waits for that as long as it takes.
TimeoutStartSec=infinity
# Root gives each workspace a user of its own.
User=root
LoadCredential=join:/etc/taskyard/~{name}.join
StateDirectory=~{name}
ExecStart=~{program} worker --join-file %d/join --data %S/~{name} --drain ~{drain_s}s
Restart=always
RestartSec=5
TimeoutStopSec=~{stop_s}
# What still runs after the drain is left alone, and the next process takes it over.
KillMode=process
Delegate=yes
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
"""

_SLURM: Final = """\
#!/bin/bash
#SBATCH --job-name=~{name}
#SBATCH --array=0-~{last}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=~{cpu}
#SBATCH --mem=~{mib}M
#SBATCH --time=~{minutes}
#SBATCH --signal=B:TERM@~{stop_s}
#SBATCH --open-mode=append

# One join string for each worker of the array, of 'taskyard worker token ~{name}-N', in the file
# ~{name}-N of this directory, mode 0600. Slurm sends SIGTERM ~{stop_s} s before the end of the
# walltime: from then on the worker takes nothing new, and finishes what it runs. It gets no task
# whose timeout is longer than what is left until then.
set -eu
joins="${TASKYARD_JOINS:-$HOME/.taskyard/joins}"
name="~{name}-$SLURM_ARRAY_TASK_ID"
data="${TMPDIR:-/var/tmp}/taskyard-$(id -un)/$name"
mkdir -p -m 0700 "$data"
exec ~{program} worker --join-file "$joins/$name" --data "$data" \\
    --cpu ~{cpu} --memory ~{mib}MiB --lifetime ~{lifetime_s}s --drain ~{drain_s}s
"""

_KUBERNETES: Final = """\
# One join string for each worker, of 'taskyard worker token ~{name}-N', is in the secret
# ~{name}-join under the worker's name:
#   kubectl create secret generic ~{name}-join --from-file=~{name}-0 --from-file=~{name}-1
# A StatefulSet, as its pods have names that stay: a credential is one worker's.
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: ~{name}
  labels:
    app.kubernetes.io/name: ~{name}
spec:
  serviceName: ~{name}
  replicas: ~{workers}
  podManagementPolicy: Parallel
  selector:
    matchLabels:
      app.kubernetes.io/name: ~{name}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: ~{name}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: ~{stop_s}
      containers:
        - name: worker
          image: "~{image}"
          command: ["taskyard", "worker"]
          args:
            - "--join-file=/join/$(POD_NAME)"
            - "--data=/data/worker"
            - "--slots=~{cpu}"
            - "--cpu=~{cpu}"
            - "--memory=~{mib}MiB"
            - "--drain=~{drain_s}s"
          env:
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
          resources:
            requests:
              cpu: "~{cpu}"
              memory: "~{mib}Mi"
            limits:
              memory: "~{mib}Mi"
          volumeMounts:
            - name: join
              mountPath: /join
              readOnly: true
            - name: data
              mountPath: /data
      volumes:
        - name: join
          secret:
            secretName: ~{name}-join
            defaultMode: 0400
        - name: data
          emptyDir: {}
"""

_KEDA: Final = """\
---
# How many there are follows from what waits and runs, down to none. The secret ~{name}-api has a
# token with the role read: kubectl create secret generic ~{name}-api --from-literal=token=…
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  name: ~{name}
spec:
  secretTargetRef:
    - parameter: token
      name: ~{name}-api
      key: token
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: ~{name}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: StatefulSet
    name: ~{name}
  pollingInterval: 15
  minReplicaCount: 0
  maxReplicaCount: ~{workers}
  triggers:
    - type: metrics-api
      metricType: AverageValue
      metadata:
        url: "~{server}/api/v1/scaling?group=~{group}&slots=~{cpu}"
        valueLocation: wanted
        targetValue: "1"
        authMode: bearer
      authenticationRef:
        name: ~{name}
"""

_NOMAD: Final = """\
# A worker on each node. Its join string, of 'taskyard worker token NODE', is the item NODE of the
# variable nomad/jobs/~{name}:
#   nomad var put nomad/jobs/~{name} NODE=@FILE
# Clients shorten kill_timeout to their max_kill_timeout, which is 30s unless configured.
job "~{name}" {
  type = "system"

  group "worker" {
    task "worker" {
      driver       = "docker"
      kill_signal  = "SIGTERM"
      kill_timeout = "~{stop_s}s"

      config {
        image   = "~{image}"
        command = "taskyard"
        args = [
          "worker",
          "--join-file", "${NOMAD_SECRETS_DIR}/join",
          "--data", "${NOMAD_ALLOC_DIR}/data/worker",
          "--cpu", "~{cpu}",
          "--memory", "~{mib}MiB",
          "--drain", "~{drain_s}s",
        ]
      }

      template {
        destination = "secrets/join"
        perms       = "0400"
        change_mode = "noop"
        data        = <<-EOT
          {{ with nomadVar "nomad/jobs/~{name}" }}{{ index . (env "node.unique.name") }}{{ end }}
        EOT
      }

      resources {
        cores  = ~{cpu}
        memory = ~{mib}
      }
    }
  }
}
"""

_TEMPLATES: Final[Mapping[Scheduler, Template]] = {
    "systemd": _Text(_SYSTEMD),
    "slurm": _Text(_SLURM),
    "kubernetes": _Text(_KUBERNETES),
    "nomad": _Text(_NOMAD),
}
