"""A job file may name files on this machine where a job names ids: they are sent first.

All of the file is checked before anything is sent, and all that is wrong is told at once, what is
found here together with what the service finds. The service knows best what is valid, so it is
asked with ids that nothing has in place of what is not there yet: its only complaint should be that
it does not know those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillhouse import Stillhouse, errors
from stillhouse.cli import registering, sending
from stillhouse.cli.failures import Mistaken
from stillhouse.cli.jobfile import FileMistaken, JobFile, Mistake, Steps
from stillhouse.cli.mistakes import explained
from stillhouse.cli.session import job_of

UNTOLD = {"family": "mlp", "inputs": 1}
"""Stands for a network whose file cannot be read, so that the rest can be looked at; never sent."""


@dataclass
class Teacher:
    """A teacher that is described instead of named."""

    steps: Steps
    body: dict[str, Any]
    file: Path | None
    rename: dict[str, str] = field(default_factory=dict)
    """Tensors of the file, by how their names begin."""


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
    mistakes: list[Mistake] = field(default_factory=list)
    """What is wrong as far as this machine can tell."""

    @classmethod
    def of(cls, file: JobFile) -> Parts:
        parts = cls(file)
        given = file.document.get("teachers")
        for index, one in enumerate(given if isinstance(given, list) else ()):
            if isinstance(one, dict):
                parts.teachers[index] = parts._teacher(("teachers", index), one)
        dataset = file.document.get("dataset")
        if isinstance(dataset, dict) or (isinstance(dataset, str) and not is_id(dataset, "dst")):
            parts.dataset = parts._dataset(dataset)
        student = file.document.get("student")
        weights = student.get("file") if isinstance(student, dict) else None
        if isinstance(weights, str) and not is_id(weights, "file"):
            parts.student = parts._path(("student", "file"), weights)
        return parts

    def check(self, still: Stillhouse) -> None:
        """Raises FileMistaken for all that is wrong here, and that the service would refuse."""
        wrong = list(self.mistakes)
        for teacher in self.teachers.values():
            if (named := teacher.body.get("job")) is not None:
                try:
                    job = job_of(still, str(named))
                except errors.NotFound as error:
                    wrong.append(Mistake((*teacher.steps, "job"), str(error)))
                    continue
                teacher.body = {"name": job.name, **teacher.body, "job": job.id}
            if teacher.file is not None:
                body = {**teacher.body, "file": "file_0"}
                wrong += self._ask(still, "/teachers", body, "TeacherIn", teacher.steps)
        if self.dataset is not None and self.dataset.files:
            source = {**self.dataset.body["source"], **_numbered(self.dataset.files)}
            body = {**self.dataset.body, "source": source}
            wrong += self._ask(still, "/datasets", body, "DatasetSpec", self.dataset.steps)
        wrong += self._wrong_job(still)
        if wrong:
            raise FileMistaken(self.file, wrong)

    def check_job(self, still: Stillhouse) -> None:
        """The job itself, and that what it names is here. Raises FileMistaken."""
        if wrong := [*self.mistakes, *self._wrong_job(still)]:
            raise FileMistaken(self.file, wrong)

    def _wrong_job(self, still: Stillhouse) -> list[Mistake]:
        body = self._filled("dst_0", [f"tch_{index}" for index in self.teachers], "file_0")
        return self._ask(still, "/jobs", body, "JobSpec", (), {"validate_only": "true"})

    def send(self, still: Stillhouse) -> dict[str, Any]:
        """The job, with an id everywhere. Raises FileMistaken before anything is sent where a
        checkpoint cannot be converted."""
        dataset, student = "", ""
        with ExitStack() as stack:
            ready = self.converted(stack)
            if self.dataset is not None:
                dataset = registering.dataset(still, self.dataset.body, self.dataset.files).id
            teachers = [
                registering.teacher(still, teacher.body, ready.get(teacher.steps)).id
                for teacher in self.teachers.values()
            ]
            if self.student is not None:
                student = registering.weights(still, ready["student",]).id
        return self._filled(dataset, teachers, student)

    def converted(self, stack: ExitStack) -> dict[Steps, Path]:
        """By place, the safetensors files of teachers and student; gone when `stack` ends. Raises
        FileMistaken."""
        given: dict[Steps, tuple[Path, dict[str, str]]] = {
            one.steps: (one.file, one.rename)
            for one in self.teachers.values()
            if one.file is not None
        }
        if self.student is not None:
            given["student",] = self.student, {}
        ready, wrong = {}, []
        for steps, (path, rename) in given.items():
            try:
                ready[steps] = stack.enter_context(sending.checkpoint(path, rename))
            except errors.NotConvertible as error:
                wrong.append(Mistake((*steps, "file"), f"{error} {error.hint or ''}".strip()))
        if wrong:
            raise FileMistaken(self.file, wrong)
        return ready

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
    ) -> list[Mistake]:
        """What the service would refuse."""
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
            return mistaken.mistakes if mistaken is not None else []
        return []

    def _in_file(self, steps: Steps, inside: Steps) -> Steps:
        """A data set that is only a path has no places of its own."""
        short = inside == ("dataset",) and isinstance(self.file.document["dataset"], str)
        return () if short else steps

    def _teacher(self, steps: Steps, given: dict[str, Any]) -> Teacher:
        body = dict(given)
        path = None
        if isinstance(named := body.get("file"), str) and not is_id(named, "file"):
            path = self._path((*steps, "file"), named)
            del body["file"]
        if isinstance(network := body.get("network"), str):
            place = (*steps, "network")
            body["network"] = UNTOLD
            if self._path(place, network).is_file():
                try:
                    body |= registering.network(network, self.file.path.parent)
                except Mistaken as error:
                    self.mistakes.append(Mistake(place, str(error)))
        if path is not None:
            body.setdefault("name", path.stem)
        rename = (
            self._rename((*steps, "rename"), body.pop("rename"), path) if "rename" in body else {}
        )
        return Teacher(steps, body, path, rename)

    def _rename(self, place: Steps, given: Any, file: Path | None) -> dict[str, str]:
        """What is not right is noted."""
        names = given.items() if isinstance(given, dict) else [(given, None)]
        if not all(isinstance(name, str) for pair in names for name in pair):
            detail = 'rename is beginnings of names in quotes, such as {"0.": "layers.0."}.'
        elif file is None:
            detail = "rename is for the tensors of a file on this machine."
        else:
            return dict(names)
        self.mistakes.append(Mistake(place, detail))
        return {}

    def _dataset(self, given: str | dict[str, Any]) -> Dataset:
        place: Steps = ("dataset",)
        if isinstance(given, str):
            path = self._path(place, given)
            return Dataset(place, {"name": path.stem, "source": {"kind": "file"}}, {"": [path]})
        body = dict(given)
        source = dict(body.get("source") or {}) if isinstance(body.get("source"), dict) else {}
        files: dict[str, list[Path]] = {}
        ids = [name for _, name, _ in _named(source) if is_id(name, "file")]
        for split, name, steps in _named(source):
            if not is_id(name, "file"):
                inner = (*place, "source", *steps)
                if ids:
                    detail = (
                        "ids of files that are there and files on this machine cannot be mixed."
                    )
                    self.mistakes.append(Mistake(inner, detail))
                files.setdefault(split, []).append(self._path(inner, name))
        if files:
            source.pop("file", None)
            source.pop("files", None)
            body["source"] = source
        first = next(iter(files.values()), [Path(str(source.get("name", "data")))])[0]
        body.setdefault("name", first.stem)
        return Dataset(place, body, files)

    def _path(self, steps: Steps, name: str) -> Path:
        """Of a file on this machine; that it is not there is noted, and the rest looked at."""
        path = self.file.beside(name)
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is not there"
            self.mistakes.append(Mistake(steps, f"the file {path} {what}."))
        return path


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
