"""What an operator decides about containers, from the settings."""

from taskyard.runtimes.container.image_record import PrunePolicy
from taskyard.runtimes.container.places import TlsFiles
from taskyard.runtimes.container.runtime import ContainerSettings
from taskyard.server.settings import Settings


def container_settings(settings: Settings) -> ContainerSettings:
    """What the settings say of containers."""
    ca, cert = settings.container_tls_ca, settings.container_tls_cert
    given = ca is not None or cert is not None
    return ContainerSettings(
        engine=settings.container_engine,
        network=settings.container_network,
        volumes=settings.container_volumes,
        tls=TlsFiles(ca, cert, settings.container_tls_key) if given else None,
        prune=PrunePolicy(
            unused_s=settings.container_image_unused_s,
            cache_bytes=settings.container_image_cache_bytes,
        ),
        syslog_to_private=settings.webhooks_may_go_private,
    )
