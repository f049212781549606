"""Wire form of those parts of a task that are answered as they were submitted."""

from typing import Annotated

from msgspec import Meta, Struct

from taskyard.core.tasks import PullPolicy, WebhookEvent

TEXT = r"^[^\x00]*$"
Argument = Annotated[str, Meta(max_length=131_072, pattern=TEXT)]
Arguments = Annotated[tuple[Argument, ...], Meta(min_length=1, max_length=4096)]
SignalName = Annotated[str, Meta(pattern=r"^SIG[A-Z0-9+-]+$", max_length=16, examples=["SIGTERM"])]
Grace = Annotated[float, Meta(ge=0, le=3600)]
Directory = Annotated[str, Meta(pattern=r"^/[^\x00]*$", max_length=4096, examples=["/srv/data"])]


class Kill(Struct, forbid_unknown_fields=True):
    """How an attempt is asked to end."""

    signal: SignalName = "SIGTERM"
    grace_s: Grace = 10.0


class Retry(Struct, forbid_unknown_fields=True):
    """How often a task is tried, and the delays in between."""

    max_attempts: Annotated[int, Meta(ge=1, le=1000)] = 1
    backoff_min_s: Annotated[float, Meta(ge=0, le=2_592_000)] = 1.0
    backoff_max_s: Annotated[float, Meta(ge=0, le=2_592_000)] = 3600.0
    factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.1


class Webhook(Struct, forbid_unknown_fields=True):
    """A URL that receives events of the task."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^https?://[^\s\x00]+$",
            max_length=2048,
            examples=["https://app.example/hook"],
            extra_json_schema={"format": "uri"},
        ),
    ]
    events: Annotated[tuple[WebhookEvent, ...], Meta(min_length=1, max_length=4)] = (
        WebhookEvent.FINISHED,
    )
    headers: Annotated[
        dict[
            Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")],
            Annotated[str, Meta(pattern=r"^[\x20-\x7e]*$", max_length=4096)],
        ],
        Meta(max_length=32),
    ] = {}


class Volume(Struct, forbid_unknown_fields=True):
    """A directory of the worker inside the container, if its operator allows that."""

    host: Directory
    container: Directory
    read_only: bool = True


class Container(Struct, forbid_unknown_fields=True):
    """How to run an image, beyond its name and the command."""

    entrypoint: Arguments | None = None
    """Program to run instead of the image's entry point."""
    pull: PullPolicy = PullPolicy.MISSING
    pull_timeout_s: Annotated[float, Meta(ge=1, le=31_536_000)] = 600.0
    credentials: Annotated[str, Meta(min_length=1, max_length=255, pattern=TEXT)] | None = None
    """Name of the secret with the credentials for the image's registry."""
    network: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,254}$")] | None = None
    volumes: Annotated[tuple[Volume, ...], Meta(max_length=64)] = ()
    hosts: Annotated[
        dict[
            Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$")],
            Annotated[str, Meta(min_length=2, max_length=64, examples=["10.0.0.7"])],
        ],
        Meta(max_length=64),
    ] = {}
    """Lines of the hosts file inside: name to address."""
    read_only: bool = True
    """Whether the root file system is read-only; ``/tmp`` is writable then, in memory."""
    capabilities: Annotated[
        tuple[
            Annotated[str, Meta(pattern=r"^[A-Z][A-Z_]{1,39}$", examples=["NET_BIND_SERVICE"])], ...
        ],
        Meta(max_length=64),
    ] = ()
    """Linux capabilities kept; all others are dropped."""
