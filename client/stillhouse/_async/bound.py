"""Resources that know the service they came from."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Self, TypeVar

import httpx
from pydantic import PrivateAttr

from stillhouse import flow_async, wire
from stillhouse._async.transport import AsyncTransport
from stillhouse.answer import Answer
from stillhouse.errors import Rejected, ServerFailed, StillRunning, Unreachable

PATIENCE_S = 600.0
"""How long a wait outlives a service that is away: it may be restarting, or the laptop asleep."""
SHORTEST_S, LONGEST_S = 0.1, 3.0
"""Between two looks at something that is waited for."""


class AsyncBound(Answer):
    """A resource as it was when it was last asked for; `refresh` asks again."""

    links: dict[str, str]
    _transport: AsyncTransport = PrivateAttr()

    @classmethod
    def _of(cls, transport: AsyncTransport, response: httpx.Response) -> Self:
        return wire.read(cls, response)._bound(transport)

    def _bound(self, transport: AsyncTransport) -> Self:
        self._transport = transport
        return self

    @property
    def _address(self) -> str:
        return self.links["self"]

    async def refresh(self) -> Self:
        """The same object, as the resource is now."""
        return self._become(await self._transport.send("GET", self._address))

    async def delete(self) -> None:
        await self._transport.send("DELETE", self._address)

    def _become(self, response: httpx.Response) -> Self:
        fresh = wire.read(type(self), response)
        self.__dict__.update(fresh.__dict__)
        self.__pydantic_extra__ = fresh.__pydantic_extra__
        return self

    async def _until(
        self,
        done: Callable[[Self], bool],
        timeout: float | None,
        on_change: Callable[[Self], None] | None = None,
    ) -> Self:
        """Asks again and again, less and less often. Raises StillRunning."""
        began = heard = time.monotonic()
        pause = SHORTEST_S
        while not done(self):
            if timeout is not None and time.monotonic() - began + pause > timeout:
                raise StillRunning(str(getattr(self, "id", self._address)), self._state, timeout)
            await flow_async.sleep(pause)
            pause = min(pause * 1.2, LONGEST_S)
            try:
                await self.refresh()
            except (Unreachable, ServerFailed):
                if time.monotonic() - heard > PATIENCE_S:
                    raise
                continue
            heard = time.monotonic()
            if on_change is not None:
                on_change(self)
        return self

    @property
    def _state(self) -> str:
        return str(getattr(self, "state", "there"))


class AsyncChecked(AsyncBound):
    """What the service looks at before it is used: a teacher or a data set."""

    id: str
    error: dict[str, Any] | None = None

    async def wait(self, timeout: float | None = None) -> Self:
        """Until it is ready. Raises Rejected, or StillRunning after so many seconds."""
        await self._until(lambda it: it._state != "checking", timeout)
        if self._state == "rejected":
            raise Rejected(self.id, self.error)
        return self


Item = TypeVar("Item", bound=Answer)


async def pages(
    transport: AsyncTransport, kind: type[Item], path: str, params: Mapping[str, Any]
) -> AsyncIterator[Item]:
    """Every item of a list, a page at a time, newest first."""
    cursor: str | None = None
    while True:
        asked = {**params, "cursor": cursor}
        items, cursor = wire.page(kind, await transport.send("GET", path, params=asked))
        for item in items:
            if isinstance(item, AsyncBound):
                item._bound(transport)
            yield item
        if cursor is None:
            return
