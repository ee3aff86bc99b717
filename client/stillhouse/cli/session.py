"""A client for one command, and the things that its arguments name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from stillhouse import Dataset, Job, Retries, Stillhouse, Sweep, Teacher, errors
from stillhouse.cli import output
from stillhouse.cli.failures import Mistaken

RETRIES = Retries(attempts=4)
"""A person waits: two seconds until somebody who does not answer is not there."""

MOST_LOOKED_AT = 1000
"""Jobs, teachers, ... in which a name is looked for, newest first."""
MOST_TOLD = 20
"""Of those that share a name."""


@contextmanager
def connected() -> Iterator[Stillhouse]:
    with Stillhouse(retries=RETRIES) as still:
        yield still


@dataclass(frozen=True)
class _Kind:
    """What a person names by its id or its name."""

    of: str
    """Its attribute of a client."""
    word: str
    prefix: str
    listing: str


_JOBS = _Kind("jobs", "job", "job", "jobs list")
_TEACHERS = _Kind("teachers", "teacher", "tch", "teachers list")
_DATASETS = _Kind("datasets", "data set", "dst", "datasets list")
_SWEEPS = _Kind("sweeps", "sweep", "swp", "sweep list")


def job_of(still: Stillhouse, named: str, *, newest: bool = True) -> Job:
    """By id; by name; `last` is the newest of all. Of several with a name the newest, which is
    said, or none: nobody's job is to be ended by guessing. Raises NotFound, or Mistaken."""
    if named == "last":
        for job in still.jobs.list(page_size=1):
            return job
    found: Job = _found(still, _JOBS, named, newest=newest)
    return found


def teacher_of(still: Stillhouse, named: str) -> Teacher:
    """By id, or by a name that no other has. Raises NotFound, or Mistaken."""
    found: Teacher = _found(still, _TEACHERS, named)
    return found


def dataset_of(still: Stillhouse, named: str) -> Dataset:
    """By id, or by a name that no other has. Raises NotFound, or Mistaken."""
    found: Dataset = _found(still, _DATASETS, named)
    return found


def sweep_of(still: Stillhouse, named: str, *, newest: bool = True) -> Sweep:
    """As for jobs, with what came of it."""
    found: Sweep = _found(still, _SWEEPS, named, newest=newest)
    return found if found.id == named else found.refresh()  # a list leaves out what came of them


def _found(still: Stillhouse, kind: _Kind, named: str, *, newest: bool = False) -> Any:
    there = getattr(still, kind.of)
    if re.fullmatch(kind.prefix + r"_[0-9a-z]{1,40}", named):
        try:
            return there.get(named)
        except errors.NotFound as error:
            raise _missing(kind, f"There is no {kind.word} {named}.", error) from None
    same = [it for it in islice(there.list(page_size=200), MOST_LOOKED_AT) if it.name == named]
    if not same:
        raise _missing(kind, f"There is no {kind.word} with the id or name {named!r}.")
    if len(same) > 1:
        shared = f"{len(same)} {kind.word}s are called {named!r}"
        if not newest:
            raise Mistaken(f"{shared}. Say which one by its id:\n" + "\n".join(_told(same)))
        made = output.when(same[0].created_at)
        output.aside().print(
            f"{shared}: this is the newest, {same[0].id}, made {made}", markup=False, soft_wrap=True
        )
    return same[0]


def _told(same: Sequence[Any]) -> Iterator[str]:
    for one in same[:MOST_TOLD]:
        made = f"{one.created_at:%Y-%m-%d %H:%M:%S} UTC ({output.when(one.created_at)})"
        yield f"  {one.id}  {one.state}, made {made}"
    if len(same) > MOST_TOLD:
        yield f"  and {len(same) - MOST_TOLD} older ones"


def _missing(kind: _Kind, text: str, error: errors.NotFound | None = None) -> errors.NotFound:
    """A plain 404 knows only that nothing is at an address: this says of what kind."""
    known = error.document if error is not None else {}
    code = f"{kind.word.replace(' ', '')}_not_found"
    hint = f"`stillhouse {kind.listing}` shows what is there."
    return errors.NotFound({**known, "detail": text, "code": code, "hint": hint}, status_code=404)
