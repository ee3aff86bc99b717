"""Opaque tokens for clients to hand back: signed, so that nobody can make up their own."""

import hashlib
import hmac
import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from app.errors import BadRequest
from app.settings import Settings

_TAG_BYTES = 16


class Signer:
    """Signs what a cursor remembers together with what it belongs to."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, content: Any, purpose: Any) -> str:
        """`purpose` (a path and its filters) is not in the token, but must be the same again."""
        payload = to_json(content)
        return _spell(self._tag(payload, purpose) + payload)

    def read(self, token: str, purpose: Any) -> Any:
        """Raises BadRequest `invalid_cursor`."""
        try:
            raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        except ValueError:
            raw = b""
        tag, payload = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
        # Base64 can spell the same bytes in several ways; ours is one of them.
        if _spell(raw) != token or not hmac.compare_digest(tag, self._tag(payload, purpose)):
            raise BadRequest(
                "invalid_cursor",
                "This cursor was not made for this query. Start again without it.",
            )
        return from_json(payload)

    def _tag(self, payload: bytes, purpose: Any) -> bytes:
        message = to_json(purpose) + b"\0" + payload
        return hmac.digest(self._key, message, "sha256")[:_TAG_BYTES]


def _spell(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def open_signer(settings: Settings) -> Signer:
    """With the configured secret, else with a random one kept under home."""
    if settings.secret is not None:
        return Signer(hashlib.sha256(settings.secret.get_secret_value().encode()).digest())
    path = settings.home / "secret.key"
    if not path.exists():
        _create(path)
    return Signer(path.read_bytes())


def _create(path: Path) -> None:
    """Whole or not at all, and once: several processes may start at the same moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
