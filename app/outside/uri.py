"""Reading a uri strictly: what two parsers could read differently is refused.

Every function raises Refused 422, pointing nowhere: the caller knows where the uri stood.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from app.spec.problems import Refused

WEB_PORTS = {"http": 80, "https": 443}
STORES = ("s3", "gs", "az")
SCHEMES = (*WEB_PORTS, *STORES)

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{0,220}")
# The ways in which C libraries read a name as an IPv4 address: 127.1, 0x7f.1, 2130706433, 0177.1.
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True)
class Uri:
    """A uri that can be read in one way only."""

    scheme: str
    host: str
    """In lower case; of a store, the bucket. IPv6 without brackets."""
    port: int | None
    """Always there on the web, never for a store."""
    path: str
    """As it was spelled, from its first slash."""
    query: str = ""

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == WEB_PORTS.get(self.scheme)
        return host if usual else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """What a request's first line asks for."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def key(self) -> str:
        """The object's name in its bucket."""
        return unquote(self.path).removeprefix("/")

    def __str__(self) -> str:
        """For logs and problems: without the query, which may hold a signature."""
        return f"{self.scheme}://{self.netloc}{self.path}"


def parse(text: str) -> Uri:
    """Raises Refused: `unsupported_scheme`, `invalid_uri`, `credentials_in_uri`, `unsafe_path`,
    `forbidden_address` for numbers that only some readers take for an address."""
    scheme, separator, rest = text.partition(":")
    scheme = scheme.lower()
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        _refuse("invalid_uri", "This is not a uri: it has no scheme.")
    if scheme not in SCHEMES:
        _refuse(
            "unsupported_scheme",
            f"Nothing is read by {scheme[:20]}:",
            f"The schemes are {', '.join(SCHEMES)}.",
        )
    if not rest.startswith("//") or not all("!" <= character <= "~" for character in text):
        _refuse("invalid_uri", "This is not a uri of printable ASCII with a host.")
    if any(character in text for character in '\\"<>^`{|}#'):
        _refuse("invalid_uri", "A uri holds no backslash, quote, bracket or fragment.")
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        _refuse("invalid_uri", "The uri's host or port cannot be read.")
    if "@" in parts.netloc:
        _refuse("credentials_in_uri", "The uri names a user, and this service sends no passwords.")
    _check_path(parts.path)
    if scheme in STORES:
        _check_store(host, port, parts.path, parts.query)
        return Uri(scheme, host, None, parts.path)
    host = _checked_host(host, bracketed="[" in parts.netloc)
    return Uri(scheme, host, port or WEB_PORTS[scheme], parts.path or "/", parts.query)


def _check_path(path: str) -> None:
    """No step may lead up, whoever decodes it, and however often."""
    seen = path
    while (decoded := unquote(seen)) != seen:
        if decoded.count("/") != seen.count("/"):
            _refuse("unsafe_path", "The path hides a slash.")
        seen = decoded
    if any(step in (".", "..") for step in seen.split("/")):
        _refuse("unsafe_path", "The path leads elsewhere (. or ..).")
    if "\\" in seen or not seen.isprintable():
        _refuse("unsafe_path", "The path hides a backslash or a control character.")


def _check_store(bucket: str, port: int | None, path: str, query: str) -> None:
    if not _BUCKET.fullmatch(bucket) or ".." in bucket or port is not None:
        _refuse("invalid_uri", "The uri names no bucket.")
    if query:
        _refuse("invalid_uri", "An object's uri has no query.")
    if path in ("", "/") or "//" in path or path.endswith("/"):
        _refuse("invalid_uri", "The uri names no object of its bucket.")


def _checked_host(host: str, *, bracketed: bool) -> str:
    host = host.removesuffix(".")
    if bracketed:
        if not re.fullmatch(r"[0-9a-f:.]+", host):  # no zones, no futures
            _refuse("invalid_uri", "The uri's IPv6 address cannot be read.")
        return host
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        _refuse("invalid_uri", "The uri's host is not a name.")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            IPv4Address(host)  # four decimal numbers, as everybody reads them
        except ValueError:
            _refuse("forbidden_address", "The uri's host is an address in an unusual spelling.")
    return host


def _refuse(code: str, detail: str, hint: str | None = None) -> NoReturn:
    raise Refused.invalid(code, detail, hint)
