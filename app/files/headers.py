"""The headers of an upload: its name and its checksum."""

import re
from base64 import b64decode
from urllib.parse import unquote_to_bytes

from app.errors import BadRequest, Unprocessable

DEFAULT_NAME = "unnamed"
_MAX_NAME_BYTES = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def filename(header: str | None) -> str:
    """X-Filename, percent-encoded or plain: a name, never a path.

    Raises Unprocessable `invalid_filename`.
    """
    if header is None:
        return DEFAULT_NAME
    try:
        # HTTP hands bytes over as Latin-1, whatever they were.
        name = unquote_to_bytes(header.encode("latin-1")).decode("utf-8")
    except UnicodeError:
        raise _bad_name("is not UTF-8") from None
    if (reason := flaw(name)) is not None:
        raise _bad_name(reason)
    return name


def flaw(name: str) -> str | None:
    """Why this cannot be a file's name, to be read after "The name"; None where it can."""
    if not name or name in (".", ".."):
        return "is no name"
    if "/" in name or "\\" in name:
        return "is a path; send the last part alone"
    if _CONTROL.search(name):
        return "contains control characters"
    if len(name.encode()) > _MAX_NAME_BYTES:
        return f"is longer than {_MAX_NAME_BYTES} bytes"
    return None


def sha256(header: str | None) -> str | None:
    """The SHA-256 that Content-Digest (RFC 9530) announces, in hexadecimal.

    Raises BadRequest `invalid_digest`. Other algorithms are left unread.
    """
    for member in (header or "").split(","):
        algorithm, _, value = member.strip().partition("=")
        if algorithm.lower() != "sha-256":
            continue
        try:
            digest = b64decode(value.strip().removeprefix(":").removesuffix(":"), validate=True)
        except ValueError:  # not ASCII, or no base64
            digest = b""
        if len(digest) != 32:
            raise BadRequest(
                "invalid_digest",
                "Content-Digest must read sha-256=:<base64 of the 32 bytes>: (RFC 9530).",
            )
        return digest.hex()
    return None


def _bad_name(reason: str) -> Unprocessable:
    detail = f"X-Filename {reason}."
    errors = [{"pointer": "/header/X-Filename", "code": "invalid_filename", "detail": detail}]
    return Unprocessable("invalid_filename", detail, errors=errors)
