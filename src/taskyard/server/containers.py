"""Rules for containers, from the settings."""

from taskyard.core.access.container_rule import ContainerRule
from taskyard.runtimes.engine.address import TlsFiles
from taskyard.runtimes.engine.settings import ContainerSettings, PrunePolicy
from taskyard.server.pools import foreign_hosts
from taskyard.server.settings import Settings
from taskyard.server.workroots import outer_work_root


def container_settings(settings: Settings) -> ContainerSettings:
    """What the settings say of containers."""
    ca, cert = settings.container_tls_ca, settings.container_tls_cert
    given = ca is not None or cert is not None
    return ContainerSettings(
        engine=settings.container_engine,
        network=settings.container_network,
        volumes=settings.container_volumes,
        file_dirs=settings.drove.config_dirs,
        protected=_protected(settings),
        rule=container_rule(settings),
        tls=TlsFiles(ca, cert, settings.container_tls_key) if given else None,
        prune=PrunePolicy(
            unused_s=settings.container_image_unused_s,
            cache_bytes=settings.container_image_cache_bytes,
        ),
        syslog_to_private=settings.webhooks_may_go_private,
    )


def container_rule(settings: Settings) -> ContainerRule:
    """What tasks may ask for in their containers."""
    return ContainerRule(
        default_network=settings.container_network,
        networks=settings.container_networks,
        capabilities=settings.container_capabilities,
        users=settings.container_users,
        devices=settings.container_devices,
        device_drivers=settings.container_device_drivers,
        new_privileges=settings.container_new_privileges,
        pids=settings.container_pids_limit,
        env=settings.drove.forward_env,
    )


def _protected(settings: Settings) -> tuple[str, ...]:
    """What of this server's containers never see, whatever volumes are allowed."""
    data = settings.data.absolute()
    found = [data, *([] if not data.exists() else [outer_work_root(data)])]
    found += [path for path in (settings.container_tls_key,) if path is not None]
    places = [settings.container_engine, *foreign_hosts(settings.pools)]
    sockets = [one.removeprefix("unix://") for one in places if one.startswith("unix://")]
    return (*(str(path.absolute()) for path in found), *sockets)
