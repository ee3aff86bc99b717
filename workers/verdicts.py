"""The worker's verbs on teachers, datasets, evaluations and reports: what is to be looked at, and
what was found.

A verdict is written only while the resource still waits for it, so that looking twice is wasteful
and nothing worse.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import blobs, outbox
from app.db import Database, now, now_plus
from app.tables import Dataset, Evaluation, File, KnowledgeReport, Teacher


@dataclass(frozen=True)
class Bytes:
    """An uploaded file: what it was called, and where its bytes are."""

    filename: str
    sha256: str

    @property
    def suffix(self) -> str:
        """Of the client's name, if it is harmless: the name itself must never reach a path."""
        suffix = PurePosixPath(self.filename).suffix.lower()
        return suffix if suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) < 12 else ""


@dataclass(frozen=True)
class TeacherCase:
    """A teacher to inspect."""

    network: dict[str, Any]
    weights: Bytes


@dataclass(frozen=True)
class DatasetCase:
    """A dataset to inspect; its files by split, or under `all`, or where to fetch its one file."""

    spec: dict[str, Any]
    files: dict[str, list[Bytes]]
    uri: str | None
    sha256: str | None
    """Of what the uri must give, where that was said."""
    project: str


@dataclass(frozen=True)
class EvaluationCase:
    """A network to evaluate, and the prepared dataset."""

    network: dict[str, Any]
    weights: str
    """SHA-256, as `data`."""
    preprocess: dict[str, Any] | None
    class_names: list[Any] | None
    data: str
    facts: dict[str, Any]
    split: str


@dataclass(frozen=True)
class ReportCase:
    """A teacher to describe on a dataset."""

    teacher: Teacher | None
    """Null is who gave the outputs that the dataset brings."""
    dataset: Dataset


Case = type[Teacher | Dataset | Evaluation | KnowledgeReport]


class Verdicts:
    """Reads cases and writes what became of them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def teacher(self, teacher_id: str) -> TeacherCase | None:
        """None when it needs no inspection any more."""
        with self.database.reading() as session:
            teacher = session.get(Teacher, teacher_id)
            if teacher is None or teacher.state != Teacher.UNDECIDED:
                return None
            file = session.get(File, teacher.file_id) if teacher.file_id else None
            # A student of ours has a name that says what it is; so must a client's file.
            filename = "student.safetensors" if file is None else file.filename
            return TeacherCase(teacher.network, Bytes(filename, teacher.sha256 or ""))

    def dataset(self, dataset_id: str) -> DatasetCase | None:
        """None when it needs no inspection any more."""
        with self.database.reading() as session:
            dataset = session.get(Dataset, dataset_id)
            if dataset is None or dataset.state != Dataset.UNDECIDED:
                return None
            files = {
                split: [_bytes(session, file_id) for file_id in ids]
                for split, ids in _file_ids(dataset.spec["source"]).items()
            }
            source = dataset.spec["source"]
            uri, sha256 = source.get("uri"), source.get("sha256")
            return DatasetCase(dataset.spec, files, uri, sha256, dataset.project_id)

    def evaluation(self, evaluation_id: str) -> EvaluationCase | None:
        """None when it is done already, or gone."""
        with self.database.reading() as session:
            row = session.get(Evaluation, evaluation_id)
            dataset = session.get(Dataset, row.dataset_id) if row is not None else None
            if row is None or row.state != Evaluation.UNDECIDED or dataset is None:
                return None
            return EvaluationCase(
                row.network,
                row.sha256,
                row.preprocess,
                row.class_names,
                dataset.sha256 or "",
                dataset.facts or {},
                row.split,
            )

    def evaluated(self, evaluation_id: str, result: dict[str, Any]) -> None:
        with self.database.transaction() as session:
            done = {"state": "succeeded", "result": result, "finished_at": now()}
            _settle(session, Evaluation, evaluation_id, **done)

    def report(self, report_id: str) -> ReportCase | None:
        """None when it needs no making any more."""
        with self.database.reading() as session:
            report = session.get(KnowledgeReport, report_id)
            if report is None or report.state != KnowledgeReport.UNDECIDED:
                return None
            dataset = session.get(Dataset, report.dataset_id)
            teacher = session.get(Teacher, report.teacher_id) if report.teacher_id else None
            if dataset is None or (teacher is None and report.teacher_id is not None):
                return None  # deleted between two statements, and the report with it
            return ReportCase(teacher, dataset)

    def teacher_ready(self, teacher_id: str, facts: dict[str, Any]) -> None:
        with self.database.transaction() as session:
            _settle(session, Teacher, teacher_id, state="ready", facts=facts)

    def dataset_ready(
        self,
        dataset_id: str,
        facts: dict[str, Any],
        sha256: str,
        size: int,
        *,
        stored: Callable[[str], bool],
    ) -> None:
        """`stored` asks the storage for the prepared file. Raises BytesGone."""
        with self.database.transaction() as session:
            blobs.refer(session, sha256, size, stored=stored)
            _settle(session, Dataset, dataset_id, state="ready", facts=facts, sha256=sha256)

    def report_ready(
        self, report_id: str, sha256: str, size: int, *, stored: Callable[[str], bool]
    ) -> None:
        """`stored` asks the storage for the report. Raises BytesGone."""
        with self.database.transaction() as session:
            blobs.refer(session, sha256, size, stored=stored)
            _settle(session, KnowledgeReport, report_id, state="ready", sha256=sha256)

    def reject(self, table: Case, resource_id: str, problem: dict[str, Any]) -> None:
        ended = {"finished_at": now()} if table is Evaluation else {}
        with self.database.transaction() as session:
            _settle(session, table, resource_id, state=table.REFUSED, error=problem, **ended)

    def waiting(self, table: Case, *, for_s: float) -> list[str]:
        """The ids of resources that have waited for their verdict for longer than that."""
        with self.database.reading() as session:
            return list(
                session.scalars(
                    select(table.id)
                    .where(table.state == table.UNDECIDED, table.created_at < now_plus(-for_s))
                    .limit(1000)
                )
            )


def _bytes(session: Session, file_id: str) -> Bytes:
    file = session.get_one(File, file_id)
    return Bytes(file.filename, file.sha256)


def _file_ids(source: dict[str, Any]) -> dict[str, list[str]]:
    """The files that a dataset's source names."""
    if source.get("file"):
        return {"all": [source["file"]]}
    return {split: ids for split, ids in (source.get("files") or {}).items() if ids}


def _settle(session: Session, table: Case, resource_id: str, **values: Any) -> None:
    project = session.scalar(
        update(table)
        .where(table.id == resource_id, table.state == table.UNDECIDED)
        .values(**values)
        .returning(table.project_id),
        execution_options={"synchronize_session": False},
    )
    kind = {Teacher: "teacher", Dataset: "dataset"}.get(table)
    if project is not None and kind is not None:
        outbox.announce(session, project, f"{kind}.{values['state']}", resource_id, values["state"])
