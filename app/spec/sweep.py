"""A sweep: a job, and the values that some of its fields take in turn."""

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from app.spec.base import Spec
from app.spec.dataset import Name

FieldPath = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$", max_length=200)]
"""Steps into the job, joined by dots; a number is a place in a list."""
Values = Annotated[tuple[Any, ...], Field(min_length=1, max_length=1000)]

MOST_JOBS: Final = 1000

Point = Mapping[str, Any]
"""A value for each path of the grid."""


class SweepSpec(Spec):
    """The body of POST /sweeps."""

    name: Name | None = None
    job: dict[str, Any]
    """The body of POST /jobs; fields of the grid may be left out."""
    grid: Annotated[dict[FieldPath, Values], Field(min_length=1, max_length=16)]
    """By the path of a field (`method.temperature`, `training.optimizer.lr`, `student.network`),
    the values that it takes. There is a job for each combination; the last field moves fastest."""
    max_jobs: int = Field(default=100, ge=1, le=MOST_JOBS)
    """A larger grid is refused."""

    @property
    def size(self) -> int:
        return math.prod(map(len, self.grid.values()))

    def points(self) -> Iterator[Point]:
        """Every combination, in order."""
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))

    def body(self, point: Point) -> dict[str, Any]:
        """The body of the point's job. Raises NoSuchPlace."""
        body = copy.deepcopy(self.job)
        for path, value in point.items():
            _set(body, path, copy.deepcopy(value))
        return body


class NoSuchPlace(Exception):
    """The job has something else where a path of the grid leads through."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(detail)
        self.path = path


def overlapping(paths: Sequence[str]) -> tuple[str, str] | None:
    """Two of which one leads to a part of the other, so that the order would decide."""
    for one, other in itertools.permutations(paths, 2):
        if other.startswith(f"{one}."):
            return one, other
    return None


def _set(body: Any, path: str, value: Any) -> None:
    *steps, last = path.split(".")
    for number, step in enumerate(steps):
        body = _into(body, step, path, ".".join(steps[: number + 1]))
    if isinstance(body, list):
        body[_index(body, last, path)] = value
    else:
        body[last] = value


def _into(body: Any, step: str, path: str, here: str) -> Any:
    """What lies at a step; an object that was left out is made."""
    inner = body[_index(body, step, path)] if isinstance(body, list) else body.setdefault(step, {})
    if not isinstance(inner, dict | list):
        raise NoSuchPlace(path, f"The job has no object or list at {here}.")
    return inner


def _index(body: Sequence[Any], step: str, path: str) -> int:
    if not step.isdigit() or int(step) >= len(body):
        raise NoSuchPlace(path, f"The job has a list of {len(body)} there, and no place {step}.")
    return int(step)
