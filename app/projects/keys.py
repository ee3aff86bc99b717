"""API keys as strings: how one is made, recognised, and kept.

A key is 260 random bits, so its plain SHA-256 is what the database keeps: a slow hash makes guesses
at passwords dear, and here there is nothing to guess.
"""

import hashlib
import re
import secrets
from typing import Final, Literal

from app.settings import KEY_SHAPE

Scope = Literal["jobs:read", "jobs:write", "admin"]

DEFAULT_SCOPES: Final[tuple[Scope, ...]] = ("jobs:read", "jobs:write")
PREFIX: Final = "sh_"
SHOWN: Final = 10
"""Of the first characters, which tell keys apart: they leave 225 bits unknown."""
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u
_LENGTH: Final = 52

_shape = re.compile(KEY_SHAPE)


def new_key() -> str:
    return PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def looks_like_one(text: str) -> bool:
    return _shape.fullmatch(text) is not None


def digest(key: str) -> str:
    """What the database knows a key by."""
    return hashlib.sha256(key.encode()).hexdigest()
