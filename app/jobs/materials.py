"""What the ids of a job stand for.

Teachers and datasets that are ready do not change any more, so a process reads them once. Whether
they are still there is told by the statement that writes the job, `repository.add`.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakKeyDictionary

from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from app.datasets import repository as datasets
from app.errors import Conflict, unprocessable
from app.files import repository as files
from app.spec.dataset import DatasetFacts
from app.spec.job import JobSpec
from app.spec.networks import Network, NetworkSpec
from app.spec.sniff import SNIFF_BYTES, sniff_checkpoint
from app.storage import Storage
from app.tables import Dataset, Teacher
from app.teachers import repository as teachers
from app.tenancy import seen_project

REMEMBERED = 256

Kind = TypeVar("Kind", Teacher, Dataset)

_network: TypeAdapter[Network] = TypeAdapter(NetworkSpec)


@dataclass(frozen=True)
class Material:
    """A dataset and its teachers, all of them ready."""

    facts: DatasetFacts
    teachers: tuple[Teacher, ...]
    networks: tuple[Network, ...]
    """Of the teachers."""

    @property
    def teacher_count(self) -> int:
        """The outputs that a dataset brings are the teacher of a job that names none."""
        return len(self.teachers) or int(self.facts.teacher_outputs is not None)

    def transfer_rows(self, spec: JobSpec) -> int:
        """Examples that the job trains on."""
        rows = self.facts.rows.get("train", 0)
        balance = (self.facts.class_balance or {}).get("train", ())
        for label in spec.transfer.exclude_classes:
            rows -= balance[label] if label < len(balance) else 0
        return max(round(rows * spec.transfer.fraction), 1) if rows > 0 else 0


_remembered: WeakKeyDictionary[Engine | Connection, dict[Hashable, Material]] = WeakKeyDictionary()


def recall(session: Session, spec: JobSpec) -> Material:
    """As `gather`, or as it was when this process gathered it: since then, some of it may have been
    deleted."""
    known = _remembered.setdefault(session.get_bind(), {})
    key = seen_project(session), spec.dataset, tuple(spec.teachers)
    if (material := known.get(key)) is None:
        material = gather(session, spec)
        for row in material.teachers:
            session.expunge(row)  # the end of a failed transaction would empty it
        if len(known) >= REMEMBERED:
            known.clear()
        known[key] = material
    return material


def gather(session: Session, spec: JobSpec) -> Material:
    """Raises Unprocessable for unknown or rejected ids, Conflict for those still checking."""
    dataset = datasets.get(session, spec.dataset)
    facts = ready(dataset, "dataset", spec.dataset, "/dataset").facts
    known = teachers.get_many(session, spec.teachers)
    rows = tuple(
        ready(known.get(teacher_id), "teacher", teacher_id, f"/teachers/{index}")
        for index, teacher_id in enumerate(spec.teachers)
    )
    networks = tuple(_network.validate_python(row.network) for row in rows)
    return Material(DatasetFacts.model_validate(facts), rows, networks)


def sniff_start(session: Session, spec: JobSpec, storage: Storage) -> None:
    """Looks into the checkpoint that the student starts from, if it does; nobody deletes it until
    this transaction ends. Raises Unprocessable, or Refused for what is no safetensors."""
    if (file_id := spec.student.file) is None:
        return
    file = files.get_many(session, [file_id]).get(file_id)
    if file is None:
        raise unprocessable("/student/file", "unknown_file", f"There is no file {file_id}.")
    head = b"".join(storage.read(file.sha256, 0, min(SNIFF_BYTES, file.size)))
    sniff_checkpoint(head, file.filename)


def ready(row: Kind | None, kind: str, row_id: str, pointer: str) -> Kind:
    """The row, which is ready. Raises Unprocessable, or Conflict while it is still checking."""
    if row is None:
        raise unprocessable(pointer, f"unknown_{kind}", f"There is no {kind} {row_id}.")
    if row.state == "checking":
        raise Conflict(
            f"{kind}_checking",
            f"The {kind} {row_id} is still being checked. Try again in a moment.",
            retryable=True,
            headers={"Retry-After": "1"},
        )
    if row.state == "rejected":
        reason = (row.error or {}).get("detail", "")
        raise unprocessable(
            pointer, f"{kind}_rejected", f"The {kind} {row_id} was rejected: {reason}"
        )
    return row
