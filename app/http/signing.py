"""Opaque tokens for clients to hand back: signed, so that nobody can make up their own."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from pydantic_core import from_json, to_json

from app.errors import BadRequest

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
