"""Which addresses webhooks may have: public ones by https, and inner ones that the owner opens."""

import ipaddress
from dataclasses import dataclass
from typing import Self

from app.outside import addresses
from app.outside.addresses import Address, Network
from app.outside.uri import WEB_PORTS, Uri, parse
from app.settings import Settings
from app.spec.problems import Refused


@dataclass(frozen=True)
class Reach:
    """`networks` are the inner ones that are open."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(tuple(map(ipaddress.ip_network, settings.webhook_allow_networks)))

    def check(self, text: str) -> Uri:
        """All that can be said without asking a name server.

        Raises Refused 422: `https_required`, `forbidden_address`, and what `parse` raises.
        """
        uri = parse(text)
        if uri.scheme not in WEB_PORTS or (uri.scheme == "http" and not self.networks):
            raise _https_required()
        if (address := addresses.literal(uri.host)) is not None:
            self.check_address(address, uri)
        return uri

    def check_address(self, address: Address, uri: Uri) -> None:
        """Of the uri's host. Raises Refused 422 `forbidden_address`, `https_required`."""
        if reason := addresses.forbidden(address, self.networks):
            raise Refused.invalid(
                "forbidden_address",
                f"Nothing is sent to {uri.host}: its address {reason}.",
                "The service's owner can open inner networks (STILLHOUSE_WEBHOOK_ALLOW_NETWORKS).",
            )
        if uri.scheme == "http" and not any(address in network for network in self.networks):
            raise _https_required()


def _https_required() -> Refused:
    return Refused.invalid(
        "https_required", "Webhooks are sent by https; by http only within networks that are open."
    )
