"""How many requests a key may make in a window, counted in Redis for all API processes together.

A process takes permits by the handful, so that most requests cost no round trip. When the broker
does not answer at once, each process counts for itself until it does.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from redis.asyncio import ConnectionPool

PATIENCE_S: Final = 0.2
"""What a request waits for the broker, once; the next ones do not ask it for a while."""
RETREAT_S: Final = 5.0
HANDFUL: Final = 100
"""A process takes this part of the limit at a time."""
PREFIX: Final = "stillhouse:rate"

log = structlog.get_logger()


@dataclass
class _Purse:
    """A key's permits that this process has taken and not given out."""

    window: int = -1
    left: int = 0
    beyond: int = 0
    """Permits that nobody had taken when this process last asked."""


@dataclass(frozen=True)
class Verdict:
    """What the headers of an answer say."""

    admitted: bool
    limit: int
    window_s: int
    remaining: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers)."""
        return {
            "RateLimit-Policy": f'"key";q={self.limit};w={self.window_s}',
            "RateLimit": f'"key";r={self.remaining};t={self.reset_s}',
        }


class Rates:
    """Windows of fixed length, alike in all processes: `rate` reads like `18000/minute`."""

    def __init__(self, rate: str, broker_url: str) -> None:
        self._item: RateLimitItem = parse(rate)
        self._window_s = self._item.get_expiry()
        self._handful = max(1, self._item.amount // HANDFUL)
        self._memory: Storage = MemoryStorage()
        self._pool = _pool(broker_url)
        self._redis = None if self._pool is None else _redis(self._pool)
        self._shared_again_at = 0.0
        self._purses: dict[str, _Purse] = {}

    async def spend(self, who: str) -> Verdict:
        """One request's permit. Never raises, and waits for PATIENCE_S at most."""
        window, gone_s = divmod(time.time(), self._window_s)
        purse = self._purses.get(who)
        if purse is None or purse.window != window:
            self._forget(int(window))
            purse = self._purses[who] = _Purse(int(window))
        if purse.left == 0:
            taken = await self._take(f"{who}/{window:.0f}")
            before = min(taken - self._handful, self._item.amount)
            after = min(taken, self._item.amount)
            purse.left += after - before
            purse.beyond = self._item.amount - after
        admitted = purse.left > 0
        purse.left -= admitted
        return Verdict(
            admitted=admitted,
            limit=self._item.amount,
            window_s=self._window_s,
            remaining=purse.left + purse.beyond,
            reset_s=max(1, round(self._window_s - gone_s)),
        )

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()

    async def _take(self, name: str) -> int:
        """How many were taken in this window, with the handful that is taken now."""
        if self._redis is not None and time.monotonic() >= self._shared_again_at:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    return await self._redis.incr(name, self._window_s, self._handful)
            except Exception as error:  # whatever the client raises: a request never fails by this
                self._shared_again_at = time.monotonic() + RETREAT_S
                log.warning("rates_counted_alone", error=type(error).__name__)
        return await self._memory.incr(name, self._window_s, self._handful)

    def _forget(self, window: int) -> None:
        """Purses of windows that are over, once there are many."""
        if len(self._purses) > 10_000:
            self._purses = {k: purse for k, purse in self._purses.items() if purse.window == window}


def _pool(broker_url: str) -> ConnectionPool | None:
    """None for brokers that Celery knows and redis-py does not."""
    url = broker_url.replace("redis+socket://", "unix://", 1)
    if not url.startswith(("redis://", "rediss://", "unix://")):
        log.warning("rates_counted_alone", error="the broker is no plain Redis")
        return None
    waits = {"socket_timeout": PATIENCE_S, "socket_connect_timeout": PATIENCE_S}
    return ConnectionPool.from_url(url, **waits)


def _redis(pool: ConnectionPool) -> RedisStorage:
    return RedisStorage(
        "async+redis://",
        implementation="redispy",
        key_prefix=PREFIX,
        connection_pool=pool,  # type: ignore[arg-type]  # handed to redis-py as it is
    )
