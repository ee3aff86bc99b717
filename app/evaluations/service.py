"""What can be known of an evaluation without running it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json
from sqlalchemy.orm import Session

from app.datasets import repository as datasets
from app.db import after_commit, now
from app.evaluations import repository
from app.evaluations.schemas import EvaluationIn
from app.ids import new_id
from app.jobs.checks import channels_misfit, refuse
from app.jobs.materials import ready
from app.queue import Doorbell
from app.spec.dataset import DatasetFacts
from app.spec.methods.base import Flaw
from app.spec.networks import Network, NetworkSpec
from app.storage import Storage
from app.tables import Dataset, Evaluation
from app.teachers import repository as teachers
from app.teachers.service import student_of

MEASURES = 1
"""Raised when results come to hold something else: older ones are not given again then."""

_network: TypeAdapter[Network] = TypeAdapter(NetworkSpec)


@dataclass(frozen=True)
class Subject:
    """A network with its weights. `preprocess` null: the dataset's own."""

    network: dict[str, Any]
    sha256: str
    preprocess: dict[str, Any] | None
    class_names: list[Any] | None


def create(
    session: Session, wanted: EvaluationIn, *, storage: Storage, bell: Doorbell
) -> Evaluation:
    """Raises Unprocessable, or Conflict for what is not ready yet.

    The same question is answered at once with what was found before.
    """
    subject = _subject(session, wanted, storage)
    dataset = ready(datasets.keep(session, wanted.dataset), "dataset", wanted.dataset, "/dataset")
    facts = DatasetFacts.model_validate(dataset.facts)
    refuse(list(_flaws(wanted, subject, facts)))
    key = _key(subject, dataset, wanted)
    result = repository.known_result(session, key)
    row = Evaluation(
        id=new_id("evl"),
        state=Evaluation.UNDECIDED if result is None else "succeeded",
        teacher_id=wanted.teacher,
        job_id=wanted.job,
        dataset_id=wanted.dataset,
        split=wanted.split,
        network=subject.network,
        preprocess=subject.preprocess,
        class_names=subject.class_names,
        sha256=subject.sha256,
        key=key,
        result=result,
        finished_at=None if result is None else now(),
    )
    repository.add(session, row)
    if result is None:
        after_commit(session, lambda: bell.evaluate(row.id))
    return row


def _subject(session: Session, wanted: EvaluationIn, storage: Storage) -> Subject:
    if wanted.job is not None:
        student = student_of(session, wanted.job, storage)
        return Subject(student.network, student.sha256, student.preprocess, student.class_names)
    teacher_id = wanted.teacher or ""
    row = ready(
        teachers.get_many(session, [teacher_id]).get(teacher_id), "teacher", teacher_id, "/teacher"
    )
    assert row.sha256 is not None  # noqa: S101  (it is ready)
    return Subject(row.network, row.sha256, row.preprocess, row.class_names)


def _flaws(wanted: EvaluationIn, subject: Subject, facts: DatasetFacts) -> Iterator[Flaw]:
    """The network must read these examples and know the same classes, and there must be labels."""
    network = _network.validate_python(subject.network)
    pointer = "/teacher" if wanted.teacher is not None else "/job"
    shape = "x".join(map(str, facts.feature_shape))
    if not facts.rows.get(wanted.split):
        has = ", ".join(facts.rows) or "none"
        yield "/split", "unknown_split", f"The dataset has no split {wanted.split}, but {has}."
    if not facts.labelled:
        detail = "The dataset has no labels, which its answers are compared with."
        yield "/dataset", "labels_required", detail
    if not network.accepts(facts.feature_shape):
        detail = f"The dataset's examples do not fit the network's inputs: they are {shape}."
        yield pointer, "shape_mismatch", detail
    if misfit := channels_misfit(subject.preprocess, facts):
        yield pointer, "preprocess_mismatch", misfit
    names = facts.class_names
    if facts.classes is not None and network.classes != facts.classes:
        detail = f"The dataset has {facts.classes} classes, the network {network.classes}."
        yield pointer, "classes_mismatch", detail
    elif subject.class_names and names and subject.class_names != list(names):
        detail = "Network and dataset name their classes differently, or in another order."
        yield pointer, "class_names_mismatch", detail


def _key(subject: Subject, dataset: Dataset, wanted: EvaluationIn) -> str:
    """By content: the same weights on the same examples answer the same."""
    asked = [
        MEASURES,
        subject.network,
        subject.sha256,
        subject.preprocess or (dataset.facts or {})["preprocess"],
        subject.class_names,
        dataset.sha256,
        wanted.split,
    ]
    return hashlib.sha256(to_json(asked)).hexdigest()
