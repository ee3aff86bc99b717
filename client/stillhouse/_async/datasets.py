"""Data sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Unpack

from stillhouse import models, spec
from stillhouse._async import knowledge
from stillhouse._async.bound import AsyncChecked, pages
from stillhouse._async.transport import AsyncTransport


class AsyncDataset(AsyncChecked, models.DatasetOut):
    """A data set: checking, then ready or rejected."""

    async def report(self, *, parameters: int | None = None) -> knowledge.AsyncKnowledge:
        """What they knew whose recorded outputs it brings: as of a teacher. `wait` for it."""
        path = f"{self._address}/report"
        return await knowledge.ask(self._transport, path, {"parameters": parameters})


class AsyncDatasets:
    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self, *, idempotency_key: str | None = None, **dataset: Unpack[spec.DatasetSpec]
    ) -> AsyncDataset:
        """Of uploaded files, a uri, or what the service brings. The service reads and checks it:
        `wait` for that."""
        response = await self._transport.create(
            "/datasets", dataset, idempotency_key=idempotency_key
        )
        return AsyncDataset._of(self._transport, response)

    async def get(self, dataset_id: str) -> AsyncDataset:
        response = await self._transport.get("datasets", dataset_id)
        return AsyncDataset._of(self._transport, response)

    def list(self, *, page_size: int = 50) -> AsyncIterator[AsyncDataset]:
        """All of them, newest first."""
        return pages(self._transport, AsyncDataset, "/datasets", {"limit": page_size})
