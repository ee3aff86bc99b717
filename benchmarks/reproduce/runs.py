"""A run: one job, and the runs that make its teachers. All of them, in the order of telling."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Run:
    """One job on one data set."""

    name: str
    """part/experiment/number."""
    data: str
    """A name that `datasets.source` knows."""
    job: Mapping[str, Any]
    """The body of POST /jobs, less teachers and dataset."""
    teachers: tuple[str, ...] = ()
    """Names of the runs whose students teach here."""
    wave: int = 0
    """Runs of a lower wave go first."""


@dataclass(frozen=True)
class Book:
    """Runs by name."""

    runs: Mapping[str, Run] = field(default_factory=dict)

    @classmethod
    def of(cls, *parts: Iterable[Run]) -> "Book":
        runs = [run for part in parts for run in part]
        book = cls({run.name: run for run in runs})
        if len(book.runs) < len(runs):
            raise ValueError("two runs have one name")
        return book

    def key(self, name: str) -> str:
        """A name for all that determines a run: its job, its data, its teachers' keys."""
        run = self.runs[name]
        parts = [run.data, run.job, [self.key(teacher) for teacher in run.teachers]]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def order(self, wanted: Iterable[str] | None = None) -> Iterator[Run]:
        """The wanted runs (all, if None) wave by wave, each after those that make its teachers."""
        names = self.runs if wanted is None else wanted
        done: set[str] = set()
        for name in sorted(names, key=lambda one: self.runs[one].wave):  # stable: as declared
            yield from self._first_its_teachers(name, done)

    def _first_its_teachers(self, name: str, done: set[str]) -> Iterator[Run]:
        if name in done:
            return
        done.add(name)
        for teacher in self.runs[name].teachers:
            yield from self._first_its_teachers(teacher, done)
        yield self.runs[name]
