"""Who follows which job in this process, and the one who looks for all of them.

Four times a second one transaction reads what is new of all jobs that are followed; whoever follows
one is woken up and takes the same bytes. A follower is no more than a place: what was said before
it came, or while it did not read, it reads again from the database, in pieces and at its own pace.
Nothing is kept for one that is slow.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import structlog
from fastapi.sse import KEEPALIVE_COMMENT
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy.exc import SQLAlchemyError

from app.db import Database
from app.streams import frames, repository
from app.streams.frames import Frame
from app.streams.repository import Standing
from app.streams.topic import Topic
from app.tables import Job

LOOK_S: Final = 0.25
PIECE: Final = 2000
"""Most numbers of one job that are told at a time."""
ALL_PIECES: Final = 20_000
"""And of all jobs."""
HEARTBEAT_S: Final = 15.0
"""Of silence before a comment says that the stream is alive; and between two looks at the keys."""
REPLAYS: Final = 4
"""Followers at a time for whom the database is read again."""

log = structlog.get_logger()


class _News(NamedTuple):
    standing: Standing
    frame: Frame | None
    done: bytes | None


class Hub:
    """One per process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._topics: dict[str, Topic] = {}
        self._keys: Counter[str] = Counter()
        """By API key, how many streams it has open."""
        self._barred: set[str] = set()
        self._keys_checked = 0.0
        self._closed = False
        self._someone = asyncio.Event()
        self._open = Gauge("stillhouse_streams", "Streams that are open.", registry=registry)

    @asynccontextmanager
    async def running(self, database: Database) -> AsyncIterator[None]:
        """Looks while the block lasts."""
        self._database = database
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="streams")
        self._replayers = ThreadPoolExecutor(REPLAYS, thread_name_prefix="replays")
        looking = asyncio.create_task(self._look_on())
        try:
            yield
        finally:
            self.close()
            looking.cancel()
            for executor in (self._looker, self._replayers):
                executor.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Ends every stream at once: clients come back, and go on where they were."""
        self._closed = True
        for topic in self._topics.values():
            topic.wake()

    async def follow(
        self, job_id: str, after: int, standing: Standing, key_id: str | None = None
    ) -> AsyncIterator[bytes]:
        """The job's events with numbers beyond `after`, and how it goes on until it ends.

        `standing` is where the job was a moment ago. Ends early when the service stops, the job is
        deleted, or the key is revoked.
        """
        topic = self._join(job_id, standing, key_id)
        place: int | None = None
        try:
            while not (self._closed or topic.gone or key_id in self._barred):
                if place is None and after < topic.upto:
                    body, after = await self._replay(job_id, after, topic.upto)
                elif place is None:
                    place, body = topic.end, frames.progress(topic.standing, topic.upto)
                elif (some := topic.since(place)) is None:
                    place = None
                    continue
                else:
                    place += len(some)
                    body = b"".join(frame.body for frame in some)
                    after = some[-1].upto if some else after
                if body:
                    yield body
                elif topic.done is not None:
                    yield topic.done
                    return
                elif place is not None and not await _in_time(topic.changed):
                    yield KEEPALIVE_COMMENT
        except SQLAlchemyError as error:
            log.warning("stream_cut", job=job_id, error=str(error))
        finally:
            self._leave(job_id, topic, key_id)

    def _join(self, job_id: str, standing: Standing, key_id: str | None) -> Topic:
        topic = self._topics.setdefault(job_id, Topic(standing))
        topic.followers += 1
        if key_id is not None:
            self._keys[key_id] += 1
        self._open.inc()
        self._someone.set()
        return topic

    def _leave(self, job_id: str, topic: Topic, key_id: str | None) -> None:
        topic.followers -= 1
        if not topic.followers:
            del self._topics[job_id]
        if key_id is not None:
            self._keys -= Counter([key_id])
        self._open.dec()

    async def _replay(self, job_id: str, after: int, upto: int) -> tuple[bytes, int]:
        """A piece of the past, and the number that it reaches."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._replayers, self._read_again, job_id, after, upto)

    def _read_again(self, job_id: str, after: int, upto: int) -> tuple[bytes, int]:
        with self._database.snapshot() as session:
            points, events, end = repository.history(
                session, job_id, after=after, up_to=upto, most=PIECE
            )
        return frames.told(points, events), end

    async def _look_on(self) -> None:
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            await self._someone.wait()
            if not self._topics:
                self._someone.clear()
                continue
            known = {job_id: (one.upto, one.standing) for job_id, one in self._topics.items()}
            try:
                self._tell(known, await loop.run_in_executor(self._looker, self._look, known))
                await self._check_keys()
                failing = False
            except Exception as error:  # the database may be away; it will be back
                if not failing:
                    log.warning("streams_without_database", error=str(error))
                failing = True
            await asyncio.sleep(LOOK_S)

    def _look(self, known: Mapping[str, tuple[int, Standing]]) -> dict[str, _News]:
        """What is new of each job that is still there: where it stands, and what to tell."""
        piece = min(PIECE, max(ALL_PIECES // len(known), 100))
        with self._database.snapshot() as session:
            standings = repository.standings(session, list(known))
            spans = {
                job_id: (known[job_id][0], min(now.seq, known[job_id][0] + piece))
                for job_id, now in standings.items()
                if now.seq > known[job_id][0]
            }
            points = repository.points(session, spans) if spans else {}
            events = repository.events(session, spans) if spans else {}
            found = {}
            for job_id, now in standings.items():
                after, before = known[job_id]
                _, upto = spans.get(job_id, (after, after))
                frame = None
                if upto > after or now != before:
                    body = frames.told(points.get(job_id, ()), events.get(job_id, ()))
                    frame = Frame(after, upto, body + frames.progress(now, upto))
                ended = now.over and upto == now.seq
                done = frames.done(session.get_one(Job, job_id)) if ended else None
                found[job_id] = _News(now, frame, done)
        return found

    def _tell(self, known: Mapping[str, object], found: Mapping[str, _News]) -> None:
        for job_id in known:
            topic, news = self._topics.get(job_id), found.get(job_id)
            if topic is None:
                continue
            if news is None:
                topic.gone = True
            elif news.frame is not None and news.frame.after != topic.upto:
                continue  # all have left, and others have come
            else:
                topic.standing, topic.done = news.standing, news.done
                if news.frame is not None:
                    topic.tell(news.frame)
            if news is None or news.frame is not None or news.done is not None:
                topic.wake()

    async def _check_keys(self) -> None:
        """A stream outlives the moment in which its key was looked at."""
        if not self._keys or time.monotonic() - self._keys_checked < HEARTBEAT_S:
            return
        self._keys_checked = time.monotonic()
        loop = asyncio.get_running_loop()
        self._barred = await loop.run_in_executor(self._looker, self._ask, list(self._keys))
        if self._barred:
            for topic in self._topics.values():
                topic.wake()

    def _ask(self, key_ids: Sequence[str]) -> set[str]:
        with self._database.reading() as session:
            return repository.barred(session, key_ids)


async def _in_time(changed: asyncio.Event) -> bool:
    """Whether something happened before a sign of life is due."""
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            await changed.wait()
    except TimeoutError:
        return False
    return True
