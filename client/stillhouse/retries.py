"""When to try again, and after how long."""

import email.utils
import random
import time
from dataclasses import dataclass

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed. Every creation carries an Idempotency-Key, so
none is made twice."""


@dataclass(frozen=True)
class Retries:
    """Waits as long as Retry-After says, else twice as long each time, give or take a half."""

    attempts: int = 6
    """Of one request, the first one among them; 1 never tries again."""
    first_s: float = 0.25
    longest_s: float = 8.0
    """Between two attempts, where the service does not say."""
    patience_s: float = 60.0
    """A Retry-After beyond this is the caller's to decide: the problem is raised at once."""

    def pause(self, attempt: int, retry_after: float | None = None) -> float | None:
        """Seconds to wait after the attempt of this number, from 1; None gives up."""
        if attempt >= self.attempts:
            return None
        if retry_after is not None:
            return retry_after if retry_after <= self.patience_s else None
        return random.uniform(0.5, 1) * min(self.first_s * 2.0 ** (attempt - 1), self.longest_s)


def retry_after(header: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date."""
    if header is None:
        return None
    try:
        return max(float(header), 0.0)
    except ValueError:
        pass
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None
