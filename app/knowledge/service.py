"""The rules of asking for a report: it is made once for the same content, by a worker."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from app.datasets import repository as datasets
from app.db import Database, after_commit
from app.errors import Conflict, NotFound, Problem, Unavailable, Unprocessable
from app.jobs.checks import misfits, refuse
from app.jobs.materials import Kind, ready
from app.knowledge import repository
from app.queue import Doorbell
from app.spec.dataset import DatasetFacts
from app.spec.knowledge import VERSION
from app.spec.networks import Network, NetworkSpec
from app.tables import Dataset, KnowledgeReport, Teacher
from app.teachers import repository as teachers

AGAIN_S = 60.0
"""After so long a report that came to nothing is asked for once more."""
PASSING = frozenset({"inspection_timeout", "inspection_died", "over_memory", "training_failed"})
"""Failures that another worker, or a better moment, may not meet."""
POINTER = "/query/dataset"

_network: TypeAdapter[Network] = TypeAdapter(NetworkSpec)


@dataclass(frozen=True)
class Subject:
    """Who is described, and on what."""

    teacher: Teacher | None
    """Null is who gave the outputs that the dataset brings."""
    dataset: Dataset

    @property
    def id(self) -> str:
        return self.dataset.id if self.teacher is None else self.teacher.id

    @property
    def facts(self) -> DatasetFacts:
        return DatasetFacts.model_validate(self.dataset.facts)

    @property
    def parameters(self) -> int | None:
        """Of the teacher, where they are known."""
        if self.teacher is None:
            return None
        return _network.validate_python(self.teacher.network).parameters

    def class_names(self, classes: int) -> list[str]:
        """The teacher's or the dataset's names, or else numbers."""
        names = (self.teacher and self.teacher.class_names) or self.facts.class_names or ()
        return list(names) if len(names) == classes else [str(label) for label in range(classes)]

    @property
    def key(self) -> str:
        """Of all that determines the report."""
        parts: dict[str, Any] = {"version": VERSION, "data": self.dataset.sha256}
        if self.teacher is not None:
            parts |= {
                "network": self.teacher.network,
                "weights": self.teacher.sha256,
                "preprocess": self.teacher.preprocess or self.facts.preprocess.model_dump(),
            }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def of_teacher(session: Session, teacher_id: str, dataset_id: str) -> Subject:
    """Both are kept until the transaction ends. Raises NotFound, Conflict or Unprocessable."""
    teacher = teachers.get_many(session, [teacher_id]).get(teacher_id)
    if teacher is None:
        raise NotFound("teacher_not_found", f"There is no teacher {teacher_id}.")
    _ready_itself(teacher, "teacher")
    dataset = ready(datasets.keep(session, dataset_id), "dataset", dataset_id, POINTER)
    subject = Subject(teacher, dataset)
    network, facts = _network.validate_python(teacher.network), subject.facts
    flaws = list(misfits(teacher, network, facts, POINTER))
    if facts.classes is not None and facts.classes != network.classes:
        detail = f"The teacher has {network.classes} classes, the dataset {facts.classes}."
        flaws.append((POINTER, "classes_mismatch", detail))
    refuse(flaws)
    return subject


def of_dataset(session: Session, dataset_id: str) -> Subject:
    """Who gave the outputs that the dataset brings. Raises NotFound or Conflict."""
    dataset = datasets.keep(session, dataset_id)
    if dataset is None:
        raise NotFound("dataset_not_found", f"There is no dataset {dataset_id}.")
    _ready_itself(dataset, "dataset")
    subject = Subject(None, dataset)
    if subject.facts.teacher_outputs is None:
        raise Conflict(
            "no_teacher_outputs",
            f"The dataset {dataset_id} brings no outputs of a teacher.",
            hint="A teacher is described by GET /teachers/{id}/report.",
        )
    return subject


def find_or_ask(
    database: Database, locate: Callable[[Session], Subject], bell: Doorbell
) -> tuple[Subject, KnowledgeReport]:
    """The report's row; where there is none yet, or nothing came of it a while ago, a worker is
    asked for it. Raises what `locate` does."""
    with database.reading() as session:
        subject = locate(session)
        row = repository.find(session, subject.dataset.id, subject.id)
    if row is None or row.state == "rejected":
        with database.transaction() as session:
            row = _ask(session, locate(session), bell)
    return subject, row


def _ask(session: Session, subject: Subject, bell: Doorbell) -> KnowledgeReport:
    key = subject.key
    sha256 = repository.made(session, key)
    added = repository.add(
        session,
        subject=subject.id,
        teacher_id=subject.teacher and subject.teacher.id,
        dataset_id=subject.dataset.id,
        key=key,
        state="checking" if sha256 is None else "ready",
        sha256=sha256,
    )
    row = repository.find(session, subject.dataset.id, subject.id)
    assert row is not None  # noqa: S101  (it was there, or has just been added)
    code = (row.error or {}).get("code")
    again = code in PASSING and repository.try_again(session, row.id, after_s=AGAIN_S)
    if again:
        session.refresh(row)
    if row.state == "checking" and (added or again):
        after_commit(session, lambda: bell.report_knowledge(row.id))
    return row


def failure(row: KnowledgeReport) -> Problem:
    """What a report's row tells of why there is none."""
    error = row.error or {}
    code, detail = error.get("code", "report_failed"), error.get("detail", "It failed.")
    if code in PASSING:
        return Unavailable(
            code,
            f"The report was not made: {detail}",
            hint=f"Ask again in {AGAIN_S:.0f} s, and it is tried once more.",
            retryable=True,
            headers={"Retry-After": f"{AGAIN_S:.0f}"},
        )
    return Unprocessable(code, f"The report cannot be made: {detail}")


def _ready_itself(row: Kind, kind: str) -> None:
    """Of what the address names, which no pointer does."""
    if row.state == "rejected":
        reason = (row.error or {}).get("detail", "")
        raise Conflict(f"{kind}_rejected", f"The {kind} {row.id} was rejected: {reason}")
    ready(row, kind, row.id, "")
