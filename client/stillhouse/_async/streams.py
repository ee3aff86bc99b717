"""Following a job as it goes: the live stream, and asking again and again where there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import httpx
from httpx_sse import EventSource, SSEError

from stillhouse import flow_async, updates, wire
from stillhouse._async.transport import AsyncTransport
from stillhouse.errors import NotFound, Problem, StillhouseError, Unreachable
from stillhouse.retries import PASSING
from stillhouse.updates import DoneUpdate, ProgressUpdate, Update

if TYPE_CHECKING:
    from stillhouse._async.jobs import AsyncJob

SILENCE_S = 60.0
"""The service says at least that it is there more often than this."""
POLL_S = 1.0


async def follow(
    transport: AsyncTransport, job: AsyncJob, *, after: int | None = None
) -> AsyncIterator[Update]:
    """From the beginning, or after what has the number `after`, to the end. A stream that breaks
    off goes on where it was."""
    attempt, last = 1, "" if after is None else str(after)
    while True:
        wait: float | None = None
        try:
            async for number, update in _once(transport, job, last):
                attempt, last = 1, number or last
                yield update
                if isinstance(update, DoneUpdate):
                    return
            failure: StillhouseError = Unreachable("The stream ended before the job did.")
        except NotFound as error:
            if error.code != "not_found":
                raise
            async for update in _ask(job):
                yield update
            return
        except (httpx.TransportError, SSEError) as error:
            failure = Unreachable(f"The stream broke off: {str(error) or type(error).__name__}.")
        except (Unreachable, Problem) as error:
            if isinstance(error, Problem) and error.status_code not in PASSING:
                raise
            failure, wait = error, getattr(error, "retry_after", None)
        pause = transport.retries.pause(attempt, wait)
        if pause is None:
            raise failure
        await flow_async.sleep(pause)
        attempt += 1


async def _once(
    transport: AsyncTransport, job: AsyncJob, last: str
) -> AsyncIterator[tuple[str, Update]]:
    """One connection's updates, with their numbers."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    timeout = httpx.Timeout(30.0, read=SILENCE_S)
    async with transport.open(f"{job._address}/stream", headers=headers, timeout=timeout) as answer:
        async for event in EventSource(answer).aiter_sse():
            try:
                update = updates.read(event.event, event.data)
            except (KeyError, TypeError, ValueError) as error:
                raise wire.unreadable(answer, event.event) from error
            if update is not None:
                yield event.id, update


async def _ask(job: AsyncJob) -> AsyncIterator[Update]:
    """The same from questions."""
    after, told = None, None
    while True:
        await job.refresh()  # first, so that what is asked next has all of a job that has ended
        news = await job.metrics(after=after, agg="last", max_points=10_000)
        for update in updates.asked(news):
            yield update
        after = news.next or after
        if news.has_more:
            continue
        now = ProgressUpdate(job.state, job.phase, job.attempt, job.progress)
        if now != told:
            yield (told := now)
        if job.is_terminal:
            yield DoneUpdate(job)
            return
        await flow_async.sleep(POLL_S)
