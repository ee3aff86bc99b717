"""A job file may name files on this machine where a job names ids: they are sent first.

All of the file is checked before anything is sent. The service knows best what is valid, so it is
asked with ids that nothing has in place of what is not there yet: its only complaint should be that
it does not know those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillhouse import Job, Stillhouse, errors
from stillhouse.cli import registering
from stillhouse.cli.jobfile import FileMistaken, JobFile, Mistake, Steps
from stillhouse.cli.mistakes import explained
from stillhouse.cli.session import job_of


@dataclass
class Teacher:
    """A teacher that is described instead of named."""

    steps: Steps
    body: dict[str, Any]
    file: Path | None


@dataclass
class Dataset:
    """A data set that is described instead of named."""

    steps: Steps
    body: dict[str, Any]
    files: dict[str, list[Path]]


@dataclass
class Parts:
    """What of a job file is not an id yet."""

    file: JobFile
    teachers: dict[int, Teacher] = field(default_factory=dict)
    dataset: Dataset | None = None
    student: Path | None = None

    @classmethod
    def of(cls, file: JobFile) -> Parts:
        """Raises FileMistaken where a file is not there."""
        parts = cls(file)
        given = file.document.get("teachers")
        for index, one in enumerate(given if isinstance(given, list) else ()):
            if isinstance(one, dict):
                parts.teachers[index] = _teacher(file, ("teachers", index), one)
        dataset = file.document.get("dataset")
        if isinstance(dataset, dict) or (isinstance(dataset, str) and not is_id(dataset, "dst")):
            parts.dataset = _dataset(file, dataset)
        student = file.document.get("student")
        weights = student.get("file") if isinstance(student, dict) else None
        if isinstance(weights, str) and not is_id(weights, "file"):
            parts.student = _file(file, ("student", "file"), weights)
        return parts

    def check(self, still: Stillhouse) -> None:
        """Raises FileMistaken for all that the service would refuse."""
        for teacher in self.teachers.values():
            if (named := teacher.body.get("job")) is not None:
                job = self._job(still, str(named), (*teacher.steps, "job"))
                teacher.body = {"name": job.name, **teacher.body, "job": job.id}
            if teacher.file is not None:
                body = {**teacher.body, "file": "file_0"}
                self._ask(still, "/teachers", body, "TeacherIn", teacher.steps)
        if self.dataset is not None and self.dataset.files:
            source = {**self.dataset.body["source"], **_numbered(self.dataset.files)}
            body = {**self.dataset.body, "source": source}
            self._ask(still, "/datasets", body, "DatasetSpec", self.dataset.steps)
        self.check_job(still)

    def check_job(self, still: Stillhouse) -> None:
        """The job itself, whatever becomes of what it names."""
        body = self._filled("dst_0", [f"tch_{index}" for index in self.teachers], "file_0")
        self._ask(still, "/jobs", body, "JobSpec", (), {"validate_only": "true"})

    def send(self, still: Stillhouse) -> dict[str, Any]:
        """The job, with an id everywhere."""
        dataset, student = "", ""
        if self.dataset is not None:
            dataset = registering.dataset(still, self.dataset.body, self.dataset.files).id
        teachers = [
            registering.teacher(still, teacher.body, teacher.file).id
            for teacher in self.teachers.values()
        ]
        if self.student is not None:
            student = registering.weights(still, self.student).id
        return self._filled(dataset, teachers, student)

    def _job(self, still: Stillhouse, named: str, steps: Steps) -> Job:
        try:
            return job_of(still, named)
        except errors.NotFound as error:
            raise FileMistaken(self.file, [Mistake(steps, str(error))]) from None

    def _filled(self, dataset: str, teachers: list[str], student: str) -> dict[str, Any]:
        job = dict(self.file.document)
        if self.dataset is not None:
            job["dataset"] = dataset
        if self.teachers:
            made = dict(zip(self.teachers, teachers, strict=True))
            job["teachers"] = [made.get(i, one) for i, one in enumerate(job["teachers"])]
        if self.student is not None:
            job["student"] = {**job["student"], "file": student}
        return job

    def _ask(
        self,
        still: Stillhouse,
        path: str,
        body: dict[str, Any],
        schema: str,
        inside: Steps,
        params: dict[str, str] | None = None,
    ) -> None:
        try:
            still.request("POST", path, json=body, params=params)
        except (errors.Unprocessable, errors.BadRequest) as problem:
            mistaken = explained(
                still,
                self.file,
                problem,
                body,
                schema,
                placed=lambda steps: inside + self._in_file(steps, inside),
                awaited=lambda steps: _nobody(body, steps),
            )
            if mistaken is not None:
                raise mistaken from None

    def _in_file(self, steps: Steps, inside: Steps) -> Steps:
        """A data set that is only a path has no places of its own."""
        short = inside == ("dataset",) and isinstance(self.file.document["dataset"], str)
        return () if short else steps


def is_id(value: str, prefix: str) -> bool:
    return re.fullmatch(prefix + r"_[A-Za-z0-9]{1,40}", value) is not None


def _nobody(body: Any, steps: Steps) -> bool:
    """Whether the body has an id of our own making there."""
    for step in steps:
        try:
            body = body[step]
        except (KeyError, IndexError, TypeError):
            return False
    return isinstance(body, str) and re.fullmatch(r"(dst|tch|file)_\d{1,3}", body) is not None


def _teacher(file: JobFile, steps: Steps, given: dict[str, Any]) -> Teacher:
    body = dict(given)
    path = None
    if isinstance(named := body.get("file"), str) and not is_id(named, "file"):
        path = _file(file, (*steps, "file"), named)
        del body["file"]
    if isinstance(network := body.get("network"), str):
        _file(file, (*steps, "network"), network)
        body = {**body, **registering.network(network, file.path.parent)}
    if path is not None:
        body.setdefault("name", path.stem)
    return Teacher(steps, body, path)


def _dataset(file: JobFile, given: str | dict[str, Any]) -> Dataset:
    if isinstance(given, str):
        path = _file(file, ("dataset",), given)
        return Dataset(("dataset",), {"name": path.stem, "source": {"kind": "file"}}, {"": [path]})
    body = dict(given)
    source = dict(body.get("source") or {}) if isinstance(body.get("source"), dict) else {}
    files: dict[str, list[Path]] = {}
    ids = [name for _, name, _ in _named(source) if is_id(name, "file")]
    for split, name, steps in _named(source):
        if not is_id(name, "file"):
            place = ("dataset", "source", *steps)
            if ids:
                detail = "ids of files that are there and files on this machine cannot be mixed."
                raise FileMistaken(file, [Mistake(place, detail)])
            files.setdefault(split, []).append(_file(file, place, name))
    if files:
        source.pop("file", None)
        source.pop("files", None)
        body["source"] = source
    first = next(iter(files.values()), [Path(str(source.get("name", "data")))])[0]
    body.setdefault("name", first.stem)
    return Dataset(("dataset",), body, files)


def _named(source: dict[str, Any]) -> Iterator[tuple[str, str, Steps]]:
    """The files of a source: split, name, and where it stands."""
    if isinstance(source.get("file"), str):
        yield "", source["file"], ("file",)
    splits = source.get("files")
    for split, names in splits.items() if isinstance(splits, dict) else ():
        for index, name in enumerate([names] if isinstance(names, str) else names or ()):
            if isinstance(name, str):
                yield split, name, ("files", split, index)


def _numbered(files: dict[str, list[Path]]) -> dict[str, Any]:
    if "" in files:
        return {"file": "file_0"}
    return {"files": {split: ["file_0"] * len(paths) for split, paths in files.items()}}


def _file(file: JobFile, steps: Steps, name: str) -> Path:
    path = file.beside(name)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise FileMistaken(file, [Mistake(steps, f"the file {path} {what}.")])
    return path
