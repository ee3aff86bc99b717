"""Ids that carry their kind and sort by time: `job_` and 25 letters and digits."""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u


def new_id(kind: str) -> str:
    """48 bits of milliseconds, then 77 random bits, in base 32."""
    value = (time.time_ns() // 1_000_000) << 77 | secrets.randbits(77)
    digits = []
    for _ in range(25):
        value, digit = divmod(value, 32)
        digits.append(_ALPHABET[digit])
    return f"{kind}_{''.join(reversed(digits))}"
