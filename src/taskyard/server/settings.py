"""The settings of a server: one frozen object, read and checked once, then passed down.

They come from a TOML file, then the environment (``TASKYARD_`` and the name in capitals), then the
command line; the later ones win. Nothing else reads the environment. The file is long because every
setting stands here once, with its type, bounds, default and meaning.
"""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from taskyard.core.access.container_rule import ORDINARY, PIDS
from taskyard.core.access.redaction import RedactedStruct
from taskyard.core.errors import InvalidInput
from taskyard.dialects.drove.settings import DroveSettings
from taskyard.dialects.fastlane.settings import FastlaneSettings
from taskyard.dialects.greencloud.settings import GreenCloudSettings
from taskyard.dialects.gx.settings import GxSettings
from taskyard.dialects.http.bodies import BODIES_BYTES
from taskyard.dialects.http.proxies import Proxies
from taskyard.dialects.http.shares import DEFAULT_PERCENT, Shares
from taskyard.dialects.http.streams import DEFAULT_WAITS
from taskyard.dialects.native.errors import invalid_input
from taskyard.dialects.native.sizes import size_bytes
from taskyard.runtimes.engine.address import parse_engine_address
from taskyard.server.addresses import Address, parse_listen
from taskyard.server.nats_settings import NatsSettings
from taskyard.server.pools import PoolSettings, check_pools, pools_from_text
from taskyard.server.work_settings import (
    Directory,
    WhenSandboxed,
    WorkSettings,
    check_directories,
    work_from_text,
)
from taskyard.services.notifications.webhook_sender import AT_ONCE
from taskyard.services.scheduling.output_quota import TASK_BYTES
from taskyard.services.scheduling.rule_budget import STEPS_PER_S
from taskyard.worker.topology import Holdings, cores_in

PREFIX: Final = "TASKYARD_"
CONFIG_NAME: Final = "taskyard.toml"
CLIENT_MEMBERS: Final = frozenset({"url", "token", "user", "password"})
"""Members of the file that the command line reads, and the server does not."""
_MOST_BYTES: Final = 1 << 50

_SIZES: Final = (
    "function_memory_bytes",
    "function_result_bytes",
    "function_unpacked_bytes",
    "function_unpack_memory_bytes",
    "worker_memory_bytes",
    "max_body_bytes",
    "max_bodies_bytes",
    "log_limit_bytes",
    "output_quota_bytes",
    "task_output_bytes",
    "disk_reserve_bytes",
    "container_image_cache_bytes",
)
_ENGINES: Final = ("unix:///", "tcp://", "http://", "https://")
_LISTS: Final = frozenset(
    {
        *("listen", "container_volumes", "worker_tags", "work_users_allowed"),
        "work_directories",
        *("allowed_hosts", "allowed_origins", "trusted_proxies", "container_networks"),
        *("container_capabilities", "container_users", "container_devices"),
        *("container_device_drivers",),
    }
)

_NONE_IF_ZERO: Final = (
    *("retention_age_s", "retention_count", "function_memory_bytes", "container_pids_limit"),
    "task_output_bytes",
)

Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class Settings(RedactedStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a server can be told. Documented in ``docs/reference/settings.md``."""

    data: Path = Path("taskyard-data")
    """Data directory; made if missing, migrated if old."""
    database: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """URL of a PostgreSQL database that keeps the state, for several control planes; SQLite in
    ``data`` when None."""
    database_password: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    """Its password, unless the URL has it."""
    database_password_file: Path | None = None
    """A file with that password in its first line."""
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    """Address the main listener is bound to."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    """Its port; 0 lets the system choose."""
    listen: tuple[str, ...] = ()
    """More listeners, each ``DIALECT=HOST:PORT``: one dialect at the root of its own address."""
    dev: bool = False
    """Well-known credentials, on loopback only; webhooks may go to private addresses."""
    allowed_hosts: tuple[Annotated[str, Meta(min_length=1, max_length=255)], ...] = ()
    """Names this server is asked by, besides those it listens on; ``*.example.com``, or ``*``."""
    allowed_origins: tuple[Annotated[str, Meta(min_length=1, max_length=300)], ...] = ()
    """Origins whose pages may use it with all they have, such as ``https://app.example``."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """``auto`` is ``console`` on a terminal and ``json`` otherwise."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = False
    """Log a line for each request."""
    worker_slots: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    """Attempts the worker runs at once; found out from the machine when None."""
    worker_cpu: Annotated[float, Meta(ge=0.01, le=10_000)] | None = None
    """Cores the worker offers; found out from the machine when None."""
    worker_memory_bytes: Annotated[int, Meta(ge=1 << 20, le=_MOST_BYTES)] | None = None
    """Memory the worker offers; found out from the machine when None."""
    worker_reserved_cores: str = ""
    """Processors the worker leaves to others, such as ``0-1,8``."""
    worker_memory_percent: Annotated[int, Meta(ge=50, le=100)] = 100
    """Share of the memory that the worker offers."""
    worker_cpu_factor: Annotated[int, Meta(ge=1, le=20)] = 1
    """How often each core is offered; more than once is over-provisioning."""
    worker_memory_factor: Annotated[int, Meta(ge=1, le=20)] = 1
    """How often the memory is offered."""
    worker_numa: bool = True
    """Whether the NUMA nodes of the machine are told apart."""
    worker_tags: tuple[Annotated[str, Meta(min_length=1, max_length=255)], ...] = ()
    """What placement policies can ask for; the host name counts as one more."""
    worker_metadata: dict[str, str] = {}
    """What rules of placement can look at."""
    worker_drain_s: Annotated[float, Meta(ge=0, le=604_800)] = 30.0
    """Seconds that what runs on a worker on another machine gets to end when that is stopped."""
    work_user: Literal["auto", "workspace", "server"] = "auto"
    """As whom commands, functions and builds run: each workspace's as a user of its own, or all as
    the server itself; ``auto`` is ``workspace`` where the server is run by root and can become
    other users."""
    work_user_range: Annotated[str, Meta(pattern=r"^[0-9]{1,10}-[0-9]{1,10}$")] = (
        "1900000000-1900065535"
    )
    """User and group ids that workspaces get; nobody else may have any of them."""
    work_users_allowed: tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...] = ()
    """Further users that tasks may ask to run as; root is never one of them."""
    work_sandbox: WhenSandboxed = "auto"
    """Whether commands run in a sandbox of bubblewrap even if they do not ask for isolation;
    ``auto``: where they would run as an ordinary server itself, and the machine can do it."""
    work_directories: tuple[Directory, ...] | None = None
    """Directories that sandboxed commands may work in and write to, besides their own; None: none,
    and with ``dev`` whatever they name."""
    workspace_work: dict[str, WorkSettings] = {}
    """By workspace, what differs for it from the settings above."""
    workspaces_share_user: bool = False
    """Whether several workspaces may be served where nothing keeps their commands apart."""
    pools: tuple[PoolSettings, ...] = ()
    """Which engine hosts run the containers of which groups; any worker when empty."""
    circuit_max_failures: Annotated[int, Meta(ge=1, le=1000)] = 5
    """Failures of an engine that follow one another until it is left alone for a while."""
    circuit_reset_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0
    """Seconds until it is tried again."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies that say whom a request came from."""
    trusted_proxy_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    """The header in which they say it; they have to replace or extend what clients send in it."""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=1 << 30)] = 8 << 20
    """Largest request body."""
    max_bodies_bytes: Annotated[int, Meta(ge=1 << 20, le=_MOST_BYTES)] = BODIES_BYTES
    """What the bodies of all requests under way may take together."""
    share_percent: Annotated[int, Meta(ge=1, le=100)] = DEFAULT_PERCENT
    """How much of what is common one workspace may take: bodies, streams, waiting requests."""
    max_queued: Count = 5_000_000
    """Waiting tasks a workspace may have; past that, submits are answered with 429."""
    max_streams: Annotated[int, Meta(ge=1, le=100_000)] = 2000
    """Live streams (server-sent events and WebSockets) at once."""
    max_waits: Annotated[int, Meta(ge=1, le=1_000_000)] = DEFAULT_WAITS
    """Requests that wait at once: for a task's end, a function's answer, a build, a placement."""
    max_webhooks: Annotated[int, Meta(ge=1, le=1000)] = AT_ONCE
    """Webhook messages that are being sent at once."""
    placement_steps: Annotated[int, Meta(ge=1000, le=1_000_000_000)] = STEPS_PER_S
    """Steps a second for evaluating placement policies, shared out among workspaces."""
    retention_age_s: Annotated[float, Meta(ge=1, le=3_153_600_000)] | None = 30 * 86400.0
    """Seconds an ended task is kept; 0 in the environment or the file means forever."""
    retention_count: Count | None = 1_000_000
    """Ended tasks kept in each workspace; 0 means all."""
    disk_reserve_bytes: Annotated[int, Meta(ge=0, le=_MOST_BYTES)] = 16 << 20
    """Kept of the disk below ``data`` for ends, kills and deletes when it is full; 0: nothing.
    At most an eighth of the file system."""
    log_limit_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] = 64 << 20
    """Bytes kept of each output stream of an attempt whose task sets no limit."""
    output_quota_bytes: Annotated[int, Meta(ge=0, le=_MOST_BYTES)] | None = None
    """Output that a workspace may keep; 0 for any; ``share_percent`` of the disk when None."""
    task_output_bytes: Annotated[int, Meta(ge=1 << 16, le=_MOST_BYTES)] | None = TASK_BYTES
    """Output that the attempts at one task may keep together."""
    container_engine: Annotated[str, Meta(min_length=1)] = "auto"
    """Engine: ``auto`` looks for one, ``off``, ``unix:///PATH``, ``tcp://HOST:PORT``."""
    container_network: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    """Network mode of containers whose task names none; the engine's default when None."""
    container_volumes: tuple[str, ...] = ()
    """Directories that containers may mount, each with everything below it."""
    container_networks: tuple[Annotated[str, Meta(min_length=1, max_length=255)], ...] = ()
    """Network modes that tasks may name besides ``none`` and the one that they get anyhow."""
    container_capabilities: tuple[Annotated[str, Meta(pattern=r"^[A-Z][A-Z_]{1,39}$")], ...] = (
        ORDINARY
    )
    """Capabilities that containers may have."""
    container_users: tuple[Annotated[str, Meta(pattern=r"^[0-9]{1,10}:[0-9]{1,10}$")], ...] = ()
    """``UID:GID`` that containers may run as, first the one for tasks that name no user; any when
    empty."""
    container_devices: tuple[Annotated[str, Meta(pattern=r"^/[^\x00]+$")], ...] = ()
    """Device files that containers may use."""
    container_device_drivers: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    """Drivers of devices that containers may use, such as ``nvidia``; ``*`` is any."""
    container_new_privileges: bool = False
    """Whether setuid programs work in containers of fastlane and Drove."""
    container_pids_limit: Annotated[int, Meta(ge=1, le=4_194_304)] | None = PIDS
    """Processes and threads that a container may have; 0 in the environment or the file means any
    number."""
    container_tls_ca: Path | None = None
    """PEM file of who signs the certificate of an engine that is reached over TLS."""
    container_tls_cert: Path | None = None
    """PEM file of our own certificate for it."""
    container_tls_key: Path | None = None
    """PEM file of the key of that."""
    container_image_unused_s: Annotated[float, Meta(ge=60, le=3_153_600_000)] | None = None
    """Seconds after which an image that this worker pulled and does not use is removed."""
    container_image_cache_bytes: Annotated[int, Meta(ge=0, le=_MOST_BYTES)] | None = None
    """Bytes that images pulled by this worker may take; the longest unused go first."""
    webhook_allow_private: bool | None = None
    """Whether webhooks, fetched configurations and lines for log servers may go to private
    addresses; only with ``dev`` when None."""
    secret_key: Annotated[str, Meta(min_length=40, max_length=64)] | None = None
    """Base64 of the 32 bytes that secrets are encrypted with; a file in ``data`` when None."""
    function_processes: Annotated[int, Meta(ge=1, le=10_000)] = 32
    """Warm processes of one version of a function, at most."""
    function_calls: Count = 10_000
    """Calls that a warm process answers before another one takes its place."""
    function_idle_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0
    """Seconds that a warm process waits for a call before it goes."""
    function_warmup_s: Annotated[float, Meta(ge=0.1, le=3600)] = 30.0
    """Seconds that a function's process gets to import the handler."""
    function_memory_bytes: Annotated[int, Meta(ge=16 << 20, le=_MOST_BYTES)] | None = 512 << 20
    """Memory of one process of a function that has no limit of its own; limited, not reserved.
    0 in the environment or the file means none."""
    function_result_bytes: Annotated[int, Meta(ge=1024, le=1 << 30)] = 10 << 20
    """Largest body that a function may answer with."""
    process_functions: bool = True
    """Whether functions run as processes of this machine; those that are images are containers."""
    function_build_timeout_s: Annotated[float, Meta(ge=1, le=86_400)] = 300.0
    """Seconds that one step of a build may take."""
    function_builds: Annotated[int, Meta(ge=1, le=1000)] = 2
    """Builds at once, of all workspaces together."""
    function_builds_waiting: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    """Builds of a workspace that may wait; past that, deploys are answered with 429."""
    function_unpacked_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 256 << 20
    """Most that the files in a function's archive may be together."""
    function_unpacked_entries: Annotated[int, Meta(ge=1, le=10_000_000)] = 20_000
    """Most files and directories in a function's archive, also those only part of a path."""
    function_unpack_memory_bytes: Annotated[int, Meta(ge=16 << 20, le=1 << 40)] = 256 << 20
    """Memory that unpacking an archive may take."""
    function_unpack_timeout_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    """Seconds that unpacking an archive may take."""
    gx: GxSettings = GxSettings()
    """The GX dialect."""
    drove: DroveSettings = DroveSettings()
    """The Drove dialect."""
    shutdown_s: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    """Seconds that requests under way get to end when the server stops."""
    fastlane: FastlaneSettings = FastlaneSettings()
    """What the fastlane dialect can be told."""
    greencloud: GreenCloudSettings = GreenCloudSettings()
    """What the GreenCloud dialect can be told."""
    nats: NatsSettings = NatsSettings()
    """Messages between control planes."""

    @classmethod
    def load(
        cls,
        config_file: Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> "Settings":
        """Read and check all settings.

        Args:
            config_file: a TOML file; when None, ``taskyard.toml`` in the working directory if
                there is one.
            overrides: the strongest settings, by name.
            environ: the environment; this process's when None.

        Raises:
            InvalidInput: names the setting (or the file) and what is wrong.
        """
        values: dict[str, Any] = {}
        values.update(_from_file(config_file))
        given = set(values) | set(overrides or {})
        _merge(values, _from_environment(os.environ if environ is None else environ))
        _merge(values, overrides or {})
        if values.get("database") is None:
            # The environment may be shared with control planes that have a database.
            for name in {"database_password", "database_password_file"} - given:
                values.pop(name, None)
        for name in _SIZES:
            if isinstance(values.get(name), str):
                values[name] = size_bytes(name, values[name], 0, _MOST_BYTES)
        if isinstance(values.get("pools"), str):
            values["pools"] = pools_from_text(values["pools"])
        if isinstance(values.get("workspace_work"), str):
            values["workspace_work"] = work_from_text(values["workspace_work"])
        values["pools"] = _with_sizes(values.get("pools", ()))
        for name in _NONE_IF_ZERO:
            if values.get(name) in {0, "0"}:
                values[name] = None
        try:
            settings = msgspec.convert(values, cls, strict=False, dec_hook=_decode_path)
        except msgspec.ValidationError as error:
            raise invalid_input(str(error), cls) from error
        settings.check()
        return settings

    def check(self) -> None:
        """Raise :class:`InvalidInput` for settings that do not go together."""
        if unknown := self.gx.unknown_types():
            raise InvalidInput("gx", f"unknown type {unknown[0]!r}")
        if idle := self.gx.idle_work():
            raise InvalidInput("gx", f"{idle[0]!r} needs a command or an image")
        addresses = [Address("native", self.host, self.port), *self.listeners()]
        if self.dev:
            for one in addresses:
                if not _is_loopback(one.host):
                    raise InvalidInput(
                        "dev",
                        f"serves well-known credentials, so it refuses to listen on {one.host}; "
                        "use 127.0.0.1, or leave --dev out",
                    )
        self.proxies()
        check_pools(self.pools)
        self._check_containers()
        self.fastlane.check("fastlane")
        self.holdings()
        self.user_ids()
        check_directories(self.data, self.work_directories, self.workspace_work)
        if {"root", "0"} & set(self.work_users_allowed):
            raise InvalidInput("work_users_allowed", "root is the server itself; remove it")
        self.greencloud.check("greencloud")
        self.nats.check("nats")
        self._check_credentials()

    def _check_credentials(self) -> None:
        if self.database is None and (self.database_password or self.database_password_file):
            raise InvalidInput("database_password", "goes together with database")
        if self.database_password is not None and self.database_password_file is not None:
            raise InvalidInput("database_password", "is given twice; leave its file out, or this")
        if self.secret_key is not None:
            from taskyard.services.access.encryption import SecretKeyWrong, decode_key  # noqa: PLC0415 - loads cryptography

            try:
                decode_key(self.secret_key.encode(), "secret_key")
            except SecretKeyWrong as error:
                raise InvalidInput("secret_key", "must be base64 of 32 bytes") from error

    def _check_containers(self) -> None:
        if self.container_engine not in {"auto", "off"}:
            parse_engine_address(self.container_engine)
        if (self.container_tls_cert is None) != (self.container_tls_key is None):
            raise InvalidInput("container_tls_key", "goes together with container_tls_cert")
        for path in self.container_volumes:
            if not path.startswith("/"):
                raise InvalidInput("container_volumes", f"{path} is not an absolute path")
        own = self.drove.default_user
        if self.container_users and own is not None and own not in self.container_users:
            raise InvalidInput("drove.default_user", "must be one of container_users")

    def listeners(self) -> list[Address]:
        """The additional listeners. Raises :class:`InvalidInput`."""
        return [parse_listen(text) for text in self.listen]

    def user_ids(self) -> tuple[int, int]:
        """The first and last user id that workspaces get. Raises :class:`InvalidInput`."""
        first, last = map(int, self.work_user_range.split("-"))
        if not 0 < first <= last < 2**31 - 1:
            raise InvalidInput(
                "work_user_range", "must be FIRST-LAST with 0 < FIRST <= LAST < 2147483647"
            )
        return first, last

    def proxies(self) -> Proxies | None:
        """The trusted proxies; None without any. Raises :class:`InvalidInput`."""
        if not self.trusted_proxies:
            return None
        return Proxies(self.trusted_proxies, self.trusted_proxy_header)

    def output_quota(self) -> int | None:
        """Bytes of output that a workspace may keep; None for any."""
        if self.output_quota_bytes is not None:
            return self.output_quota_bytes or None
        try:
            disk = os.statvfs(self.data)
        except OSError:
            return None
        return disk.f_frsize * disk.f_blocks * self.share_percent // 100

    def shares(self, noun: str, most: int) -> Shares:
        """So much for all callers together, and a share for each."""
        return Shares(noun, most, self.share_percent)

    def holdings(self) -> Holdings:
        """What of the machine the worker offers. Raises :class:`InvalidInput`."""
        try:
            reserved = cores_in(self.worker_reserved_cores)
        except ValueError as error:
            raise InvalidInput(
                "worker_reserved_cores", f"is not a list of cores such as 0-3,8: {error}"
            ) from error
        return Holdings(
            reserved,
            self.worker_memory_percent,
            self.worker_cpu_factor,
            self.worker_memory_factor,
            self.worker_numa,
        )

    def password_of_database(self) -> str | None:
        """The database's password; None if the URL or the server's defaults have to do.

        Raises :class:`InvalidInput` if its file cannot be read.
        """
        path = self.database_password_file
        if path is None:
            return self.database_password
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(
                "database_password_file",
                f"{path} cannot be read: {getattr(error, 'strerror', None) or error}",
            ) from error
        if not lines or not lines[0]:
            raise InvalidInput(
                "database_password_file", f"{path} has no password in its first line"
            )
        return lines[0]

    @property
    def webhooks_may_go_private(self) -> bool:
        """Whether webhooks may be sent to private, loopback and link-local addresses."""
        return self.dev if self.webhook_allow_private is None else self.webhook_allow_private


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        path = Path(CONFIG_NAME)
        if not path.is_file():
            return {}
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput("config", f"{path} cannot be read: {error}") from error
    return {name: value for name, value in found.items() if name not in CLIENT_MEMBERS}


def _with_sizes(pools: Any) -> Any:
    """Pools whose sizes are numbers; whatever is no pool is left for the check to refuse."""
    if not isinstance(pools, list):
        return pools
    name = "memory_bytes"
    return [
        {**pool, name: size_bytes(f"pools.{number}.{name}", pool[name], 0, _MOST_BYTES)}
        if isinstance(pool, dict) and isinstance(pool.get(name), str)
        else pool
        for number, pool in enumerate(pools)
    ]


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for one in msgspec.structs.fields(Settings):
        if isinstance(one.default, Struct):
            table = _table_from_environment(environ, one.name, type(one.default))
            if table:
                values[one.name] = table
            continue
        text = environ.get(PREFIX + one.name.upper())
        if text:
            values[one.name] = text.replace(",", " ").split() if one.name in _LISTS else text
            if one.name == "worker_metadata":
                pairs = (part.partition("=") for part in text.split(","))
                values[one.name] = {name.strip(): value.strip() for name, _, value in pairs}
    engine = environ.get("DOCKER_HOST", "")
    if "container_engine" not in values and engine.startswith(_ENGINES):
        # What clients of engines look at; forms that are not ours, such as ssh, are not meant here.
        values["container_engine"] = engine
    return values


def _table_from_environment(
    environ: Mapping[str, str], table: str, kind: type[Struct]
) -> dict[str, Any]:
    """The members of a table: ``TASKYARD_``, its name and theirs; lists separated by commas."""
    values: dict[str, Any] = {}
    for one in msgspec.structs.fields(kind):
        text = environ.get(f"{PREFIX}{table}_{one.name}".upper())
        if text:
            is_list = isinstance(one.default, tuple)
            values[one.name] = text.replace(",", " ").split() if is_list else text
    return values


def _merge(values: dict[str, Any], stronger: Mapping[str, Any]) -> None:
    """Let stronger settings win, member by member in tables."""
    for name, value in stronger.items():
        present = values.get(name)
        if isinstance(present, dict) and isinstance(value, Mapping):
            values[name] = {**present, **value}
        else:
            values[name] = value


def _decode_path(kind: type[Any], value: Any) -> Any:
    if kind is not Path or not isinstance(value, str | Path):
        raise NotImplementedError
    return Path(value)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
