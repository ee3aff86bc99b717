"""Which uris this service reads, as its owner's settings say: by default none."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from app.outside import addresses
from app.outside.addresses import Network
from app.outside.uri import SCHEMES, STORES, WEB_PORTS, Uri, parse
from app.settings import Settings
from app.spec.problems import Refused

PROJECT = "{project}"
"""In an entry's path: the id of the project that asks."""

_ENTRY = re.compile(
    rf"(?P<scheme>{'|'.join(SCHEMES)})://"
    r"(?P<host>\*|(\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>\d{1,5}))?(?P<path>/.*)?"
)


@dataclass(frozen=True)
class Entry:
    """One place of the allow-list: https://host/prefix/, https://*.example.org, s3://bucket/."""

    scheme: str
    host: str
    port: int | None
    path: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ValueError."""
        found = _ENTRY.fullmatch(text)
        if not found or (found["scheme"] in STORES and (found["port"] or "*" in found["host"])):
            raise ValueError(f"not a place to allow: {text!r} (https://host/prefix/, s3://bucket/)")
        port = int(found["port"]) if found["port"] else WEB_PORTS.get(found["scheme"])
        return cls(found["scheme"], found["host"].lower().strip("[]"), port, found["path"] or "/")

    def covers(self, uri: Uri) -> bool:
        """Whether the uri lies there, in whichever project."""
        return self._is_host(uri) and self._prefix("[^/]+").match(unquote(uri.path)) is not None

    def covers_for(self, uri: Uri, project: str | None) -> bool:
        """Whether the uri lies there for this project."""
        prefix = self._prefix(re.escape(project or ""))
        return self._is_host(uri) and prefix.match(unquote(uri.path)) is not None

    def _is_host(self, uri: Uri) -> bool:
        if (self.scheme, self.port) != (uri.scheme, uri.port):
            return False
        if self.host.startswith("*"):
            return uri.host.endswith(self.host[1:]) and addresses.literal(uri.host) is None
        return uri.host == self.host

    def _prefix(self, project: str) -> re.Pattern[str]:
        """Ends where a step of the path ends, so that /sets does not open /sets-of-others."""
        steps = (re.escape(part) for part in self.path.rstrip("/").split(PROJECT))
        return re.compile(project.join(steps) + r"(/|$)")


@dataclass(frozen=True)
class Policy:
    """What may be read, and the inner networks that it may be read from."""

    entries: tuple[Entry, ...] = ()
    networks: tuple[Network, ...] = ()
    own_storage: str | None = None
    """Where the service keeps everybody's bytes: read through it, and by uri never."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            tuple(map(Entry.read, settings.uri_allow)),
            tuple(map(ipaddress.ip_network, settings.uri_allow_networks)),
            settings.storage_url,
        )

    def check(self, text: str, project: str | None = None) -> Uri:
        """All that can be said without asking a name server.

        Raises Refused: 422 `uri_not_allowed`, `forbidden_address` and what `parse` raises; 404
        `source_not_found` for the place of another project, or of the service itself.
        """
        uri = parse(text)
        if uri.scheme in WEB_PORTS and (address := addresses.literal(uri.host)) is not None:
            self.check_address(address, uri.host)
        covering = [entry for entry in self.entries if entry.covers(uri)]
        if not covering:
            raise Refused.invalid(
                "uri_not_allowed",
                f"This service does not read from {uri.scheme}://{uri.host}.",
                "Its owner lists what it reads in STILLHOUSE_URI_ALLOW; any file can be uploaded.",
            )
        if self._is_own(uri) or not any(entry.covers_for(uri, project) for entry in covering):
            raise Refused(404, "source_not_found", "Not found", "There is nothing at this uri.")
        return uri

    def check_address(self, address: addresses.Address, host: str) -> None:
        """Raises Refused 422 `forbidden_address`."""
        if reason := addresses.forbidden(address, self.networks):
            raise Refused.invalid(
                "forbidden_address", f"Nothing is read from {host}: its address {reason}."
            )

    def _is_own(self, uri: Uri) -> bool:
        own = (self.own_storage or "").rstrip("/")
        mine = f"{uri.scheme}://{uri.host}{unquote(uri.path)}"
        return bool(own) and f"{mine}/".startswith(f"{own}/")
