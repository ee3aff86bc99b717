"""Sweeps: a job for each point of a grid, and the best of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Self, Unpack

from stillhouse import models
from stillhouse._async.bound import AsyncBound, pages
from stillhouse._async.jobs import AsyncJob
from stillhouse._async.transport import AsyncTransport
from stillhouse.spec import SweepSpec


class AsyncSweep(AsyncBound, models.SweepOut):
    """A sweep as it was when it was last asked for: `results` is the table of its jobs, `best` the
    one that validation prefers."""

    async def wait(
        self,
        timeout: float | None = None,
        *,
        on_change: Callable[[Self], None] | None = None,
    ) -> Self:
        """Until every job has ended, well or not: `results` tells which. Raises StillRunning after
        so many seconds."""
        return await self._until(lambda it: it.is_terminal, timeout, on_change)

    async def cancel(self) -> Self:
        """Cancels those of its jobs that have not ended."""
        return self._become(await self._transport.send("POST", f"{self._address}/cancel"))

    def list_jobs(self) -> AsyncIterator[AsyncJob]:
        """Its jobs, newest first."""
        return pages(self._transport, AsyncJob, "/jobs", {"sweep": self.id, "limit": 200})


class AsyncSweeps:
    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self, *, idempotency_key: str | None = None, **sweep: Unpack[SweepSpec]
    ) -> AsyncSweep:
        """Submits a job for each point of `grid`: lists of values by the path of a field, such as
        method.temperature. All of them, or none where one is refused."""
        response = await self._transport.create("/sweeps", sweep, idempotency_key=idempotency_key)
        return AsyncSweep._of(self._transport, response)

    async def get(self, sweep_id: str) -> AsyncSweep:
        response = await self._transport.get("sweeps", sweep_id)
        return AsyncSweep._of(self._transport, response)

    def list(self, *, page_size: int = 50) -> AsyncIterator[AsyncSweep]:
        """All of them, newest first, without their tables."""
        return pages(self._transport, AsyncSweep, "/sweeps", {"limit": page_size})
