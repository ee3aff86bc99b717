"""Follows running jobs by their rows: who holds them, and how many steps are trained twice."""

import threading
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import select

from app.db import Database
from app.states import HELD
from app.tables import Artifact, Job
from workers import shelf

LOOK_S = 0.2


@dataclass
class Seen:
    """How far an attempt was last seen."""

    token: int
    step: int
    old: int = -1
    """What the row goes on to show, of the attempt before, until this one has made a step."""


@dataclass
class Watch:
    """`wasted` counts steps that an attempt had been seen to make and the next one made again."""

    database: Database
    wasted: int = 0
    resumed: int = 0
    """Attempts that went on from a checkpoint or a finished stage."""
    again: int = 0
    """Attempts that had to begin at the first step."""
    _seen: dict[str, Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            with suppress(Exception):  # the database may be away
                self._look()

    def held(self) -> dict[str, tuple[int, str]]:
        """Of every job that is held now: its attempt and its worker."""
        with self.database.reading() as session:
            rows = session.execute(
                select(Job.id, Job.attempt, Job.worker).where(Job.state.in_(HELD))
            )
            return {job: (attempt, worker or "") for job, attempt, worker in rows}

    def _look(self) -> None:
        with self.database.reading() as session:
            rows = session.execute(
                select(Job.id, Job.token, Job.progress).where(Job.state.in_(HELD))
            ).all()
            for job, token, progress in rows:
                step = int(progress["step"])
                seen = self._seen.get(job)
                if seen is None:
                    self._seen[job] = Seen(token, step)
                elif seen.token == token:
                    if step != seen.old:
                        seen.step, seen.old = max(seen.step, step), -1
                else:
                    kept = session.scalars(
                        select(Artifact.facts).where(
                            Artifact.job_id == job,
                            Artifact.token < token,
                            Artifact.kind.in_((shelf.CHECKPOINT, shelf.DELIVERABLE)),
                        )
                    )
                    start = max((facts.get("step", 0) for facts in kept), default=0)
                    self.wasted += max(seen.step - start, 0)
                    self.resumed += start > 0
                    self.again += start == 0
                    self._seen[job] = Seen(token, start, old=step)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
