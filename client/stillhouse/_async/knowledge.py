"""What a teacher knows on a data set, beyond its answers."""

from __future__ import annotations

from typing import Any, Self

from stillhouse import models
from stillhouse._async.bound import AsyncBound
from stillhouse._async.transport import AsyncTransport


class AsyncKnowledge(AsyncBound, models.KnowledgeOut):
    """A report: computing, then ready, for the advice on students of so many `parameters`."""

    async def wait(self, timeout: float | None = None) -> Self:
        """Until it is there. Raises StillRunning after so many seconds, and the problem that the
        service has with it."""
        return await self._until(lambda it: it.state != "computing", timeout)


async def ask(transport: AsyncTransport, path: str, params: dict[str, Any]) -> AsyncKnowledge:
    given = {name: value for name, value in params.items() if value is not None}
    return AsyncKnowledge._of(transport, await transport.send("GET", path, params=given))
