"""How a worker on another machine connects: what its join string says."""

import ssl

from msgspec.structs import replace

from taskyard.core.access.join_string import JoinString
from taskyard.core.errors import InvalidInput
from taskyard.transport.nats.options import NatsOptions, nats_options


def options_to_join(join: JoinString) -> NatsOptions:
    """The servers of a join string, as the user that it names; TLS with its authority alone.

    Raises ``InvalidInput`` if an address or a certificate in it is none.
    """
    found = nats_options(",".join(join.urls), table="join")
    servers = tuple(
        replace(one, user=join.name, password=join.secret, token=None) for one in found.servers
    )
    context = found.tls
    if join.ca_pem is not None:
        try:
            context = ssl.create_default_context(cadata=join.ca_pem)
        except ssl.SSLError as error:
            raise InvalidInput(
                "join", "has no certificate that can be used; make a new one"
            ) from error
    return NatsOptions(servers, context)
