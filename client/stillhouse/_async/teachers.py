"""Teachers: checkpoints with their networks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Unpack

from stillhouse import models, spec
from stillhouse._async import knowledge
from stillhouse._async.bound import AsyncChecked, pages
from stillhouse._async.transport import AsyncTransport


class AsyncTeacher(AsyncChecked, models.TeacherOut):
    """A teacher: checking, then ready or rejected."""

    async def report(
        self, dataset: str, *, parameters: int | None = None
    ) -> knowledge.AsyncKnowledge:
        """What it knows of a data set's classes, and at which temperature to teach it to a student
        of so many `parameters`. The service makes it when it is first asked: `wait` for that."""
        params = {"dataset": dataset, "parameters": parameters}
        return await knowledge.ask(self._transport, f"{self._address}/report", params)


class AsyncTeachers:
    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self, *, idempotency_key: str | None = None, **teacher: Unpack[spec.TeacherIn]
    ) -> AsyncTeacher:
        """Of an uploaded checkpoint and its `network`, or of the student of a `job`. The service
        checks it: `wait` for that."""
        response = await self._transport.create(
            "/teachers", teacher, idempotency_key=idempotency_key
        )
        return AsyncTeacher._of(self._transport, response)

    async def get(self, teacher_id: str) -> AsyncTeacher:
        response = await self._transport.get("teachers", teacher_id)
        return AsyncTeacher._of(self._transport, response)

    def list(self, *, page_size: int = 50) -> AsyncIterator[AsyncTeacher]:
        """All of them, newest first."""
        return pages(self._transport, AsyncTeacher, "/teachers", {"limit": page_size})
