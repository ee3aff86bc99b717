"""Streams for clients that come and go, while attempts end and others write their steps again."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from app.db import Database
from app.states import State
from app.streams import repository
from app.streams.hub import Hub
from app.tables import JobEvent, MetricPoint, MetricSeries
from tests.events import Event, Follower, events_of
from tests.workers.rows import ZERO, add_job, expire
from workers.claims import Claim
from workers.ledger import Ledger
from workers.shelf import Made

KEYS = ("train/loss", "validation/accuracy")


class Work:
    """Attempts at a job: each value that is written is one of a kind."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database = database
        self.ledger = Ledger(database, lease_s=60, max_attempts=1000)
        self.job_id = add_job(database)
        self.values = itertools.count(1.0)
        self.chance = random.Random(seed)
        self.step = self.kept = 0
        self.claim = self._claim()

    def _claim(self) -> Claim:
        claim = self.ledger.claim(self.job_id, "w")
        assert claim is not None
        return claim

    def act(self) -> None:
        match self.chance.choices(["write", "beat", "save", "die"], [8, 2, 1, 1])[0]:
            case "write":
                self.write(self.chance.choice([1, 3, 30]))
            case "beat":
                self.ledger.write(self.claim, progress=self.progress(), phase="training")
            case "save":
                facts = {"stage": 0, "step": self.step, "best": False}
                name = f"checkpoint-{self.step}"
                self.ledger.publish(
                    self.claim, Made(name, "checkpoint", "safetensors", "0" * 64, 1, facts)
                )
                self.kept = self.step
            case "die":
                expire(self.database, self.job_id)
                self.claim = self._claim()
                self.step = self.kept

    def write(self, steps: int) -> None:
        points: list[Any] = []
        for _ in range(steps):
            # Not the same steps each time: what an attempt does not write again must go.
            self.step += self.chance.choice([1, 1, 2])
            some = self.chance.sample(KEYS, self.chance.choice([1, 2]))
            points += [[key, self.step, 0.1, 1.0, next(self.values)] for key in some]
        self.ledger.write(self.claim, progress=self.progress(), phase="training", points=points)

    def progress(self) -> dict[str, Any]:
        return {**ZERO, "step": self.step}

    def curves(self) -> dict[tuple[str, int], float | None]:
        with self.database.reading() as session:
            rows = session.execute(
                select(MetricSeries.key, MetricPoint.step, MetricPoint.value).join(
                    MetricPoint, MetricPoint.series_id == MetricSeries.id
                )
            )
            return {(key, step): value for key, step, value in rows}

    def states(self) -> list[str]:
        with self.database.reading() as session:
            return list(session.scalars(select(JobEvent.to_state).order_by(JobEvent.seq)))


class Client:
    """Follows, is cut off anywhere, comes back with the number that it heard last."""

    def __init__(self, hub: Hub, work: Work, seed: int) -> None:
        self.hub, self.work = hub, work
        self.known = Follower()
        self.chance = random.Random(seed)

    async def follow(self) -> None:
        while self.known.done is None:
            left = self.chance.choice([1, 2, 5, 40])
            async for event in self._events():
                self.known.take(event)
                left -= 1
                if left == 0 and self.known.done is None:
                    break
                await asyncio.sleep(self.chance.choice([0, 0, 0.02]))
            await asyncio.sleep(self.chance.choice([0, 0.05]))

    async def _events(self) -> AsyncIterator[Event]:
        with self.work.database.reading() as session:
            standing = repository.standings(session, [self.work.job_id])[self.work.job_id]
        stream = self.hub.follow(self.work.job_id, self.known.last, standing)
        try:
            async for piece in stream:
                for event in events_of(piece.decode().splitlines()):
                    yield event
        finally:
            await stream.aclose()


@pytest.mark.parametrize("seed", range(4))
def test_whoever_comes_and_goes_hears_all_of_it_once(
    database: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.streams.hub.LOOK_S", 0.01)
    monkeypatch.setattr("app.streams.hub.PIECE", 7)
    monkeypatch.setattr("app.streams.topic.KEPT", 3)
    monkeypatch.setattr("app.streams.frames.MOST_POINTS", 5)
    work = Work(database, seed)

    async def run() -> list[Follower]:
        hub = Hub(CollectorRegistry())
        clients = [Client(hub, work, 100 * seed + number) for number in range(5)]
        async with hub.running(database):
            following = [asyncio.create_task(client.follow()) for client in clients]
            for _ in range(60):
                await asyncio.to_thread(work.act)
                await asyncio.sleep(work.chance.choice([0, 0, 0.02]))
            await asyncio.to_thread(work.ledger.finish, work.claim, State.SUCCEEDED, reason="r")
            async with asyncio.timeout(60):
                await asyncio.gather(*following)
        return [client.known for client in clients]

    for known in asyncio.run(run()):
        assert known.curves == work.curves()
        values = [value for _, _, value in known.heard]
        assert len(set(values)) == len(values), "heard twice"
        assert known.states == work.states()
        assert known.progress["progress"] == {**ZERO, **known.done["progress"]}
        assert known.done["state"] == "succeeded"
