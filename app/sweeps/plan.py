"""A grid's jobs, all checked before the first is made: all of them are accepted, or none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import to_json
from sqlalchemy.orm import Session

from app.errors import Unprocessable, unprocessable
from app.http.parsing import escape_pointer
from app.http.problems import field_problems
from app.jobs import repository as jobs
from app.jobs.checks import check
from app.jobs.estimate import check_memory
from app.jobs.materials import Material, gather, sniff_start
from app.settings import Settings
from app.spec.job import JobSpec
from app.spec.sweep import NoSuchPlace, Point, SweepSpec, overlapping
from app.storage import Storage

SHOWN: Final = 50
"""Problems that are told of at a time."""

Planned = tuple[JobSpec, Material]


def plan(
    session: Session, wanted: SweepSpec, *, storage: Storage, settings: Settings
) -> list[Planned]:
    """The jobs in the order of the grid. Raises Unprocessable with everything that is wrong, and
    Conflict while something that is named is still checked."""
    _check_grid(wanted)
    checker = _Checker(session, storage, settings)
    found = _Found(wanted)
    planned = []
    for point in wanted.points():
        try:
            planned.append(checker.job(wanted.body(point)))
        except NoSuchPlace as wrong:
            found.note_path(point, wrong)
        except _Invalid as invalid:
            found.note(point, invalid.errors)
        except Unprocessable as refused:
            found.note(point, refused.errors)
    found.raise_for_them()
    return planned


def _check_grid(wanted: SweepSpec) -> None:
    if wanted.size > wanted.max_jobs:
        raise unprocessable(
            "/grid",
            "too_many_jobs",
            f"The grid has {wanted.size:,} points, more than max_jobs ({wanted.max_jobs:,}).",
        )
    if pair := overlapping(list(wanted.grid)):
        raise unprocessable(
            f"/grid/{escape_pointer(pair[1])}",
            "overlapping_fields",
            f"{pair[1]} is a part of {pair[0]}, which the grid sets too.",
        )
    for path, values in wanted.grid.items():
        seen: set[bytes] = set()
        for index, value in enumerate(values):
            if (spelled := to_json(value)) in seen:
                raise unprocessable(
                    f"/grid/{escape_pointer(path)}/{index}",
                    "duplicate_value",
                    "This value is there already: two jobs would be the same.",
                )
            seen.add(spelled)


class _Invalid(Exception):
    """A body that is no job."""

    def __init__(self, errors: Sequence[Mapping[str, str]]) -> None:
        super().__init__()
        self.errors = errors


class _Checker:
    """Does for each body what POST /jobs does; what many of them name is looked up once."""

    def __init__(self, session: Session, storage: Storage, settings: Settings) -> None:
        self._session = session
        self._storage = storage
        self._settings = settings
        self._memory = jobs.trainers_memory(session)
        self._known: dict[Any, Material] = {}

    def job(self, body: dict[str, Any]) -> Planned:
        """Raises _Invalid, Unprocessable, Conflict, Refused."""
        try:
            spec = JobSpec.model_validate(body)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            placed = [{**item, "loc": ("body", *item["loc"])} for item in found]
            raise _Invalid(field_problems(placed, body)) from None
        material = self._material(spec)
        check(spec, material)
        check_memory(spec, material, self._memory, self._settings)
        return spec, material

    def _material(self, spec: JobSpec) -> Material:
        named = spec.teachers, spec.dataset, spec.student.file
        if named not in self._known:
            material = gather(self._session, spec)
            sniff_start(self._session, spec, self._storage)
            self._known[named] = material
        return self._known[named]


@dataclass
class _Found:
    """What is wrong, and with which points, as pointers into the body of POST /sweeps."""

    wanted: SweepSpec
    errors: dict[tuple[str, str, str], list[Point]] = field(default_factory=dict)

    def note(self, point: Point, errors: Sequence[Mapping[str, str]]) -> None:
        for error in errors:
            place = self._place(error["pointer"], point)
            key = place, error["code"], error["detail"]
            self.errors.setdefault(key, []).append(point)

    def note_path(self, point: Point, wrong: NoSuchPlace) -> None:
        """Whatever the value is."""
        key = f"/grid/{escape_pointer(wrong.path)}", "no_such_place", str(wrong)
        self.errors.setdefault(key, []).append(point)

    def raise_for_them(self) -> None:
        if not self.errors:
            return
        told = list(self._told())
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        first = told[0]
        raise Unprocessable(
            first["code"], f"{first['pointer']}: {first['detail']}{more}", errors=told[:SHOWN]
        )

    def _told(self) -> Iterator[dict[str, str]]:
        for (pointer, code, detail), points in self.errors.items():
            if not pointer.startswith("/grid/") and len(points) < self.wanted.size:
                values = ", ".join(
                    f"{path} = {to_json(v).decode()}" for path, v in points[0].items()
                )
                others = f" and {len(points) - 1} others" if len(points) > 1 else ""
                detail = f"{detail} (with {values[:300]}{others})"
            yield _problem(pointer, code, detail)

    def _place(self, pointer: str, point: Point) -> str:
        """In the grid, where the value stands that is wrong; else in the job."""
        for path, value in point.items():
            own = f"/{_pointer(path)}"
            if f"{pointer}/".startswith(f"{own}/"):
                values = self.wanted.grid[path]
                index = next(at for at, one in enumerate(values) if one is value)
                return f"/grid/{escape_pointer(path)}/{index}{pointer.removeprefix(own)}"
        return f"/job{pointer}"


def _pointer(path: str) -> str:
    return path.replace(".", "/")


def _problem(pointer: str, code: str, detail: str) -> dict[str, str]:
    return {"pointer": pointer, "code": code, "detail": detail}
