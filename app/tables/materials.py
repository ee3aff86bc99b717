"""What jobs are made of, and what is asked of that."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db import now
from app.tables.base import Owned, Row, created, row_id


class Teacher(Owned, Row):
    """A checkpoint with its network: checking, then ready or rejected."""

    UNDECIDED: ClassVar[str] = "checking"
    REFUSED: ClassVar[str] = "rejected"

    __tablename__ = "teachers"
    __table_args__ = (Index(None, "project_id", "created_at", "id"), Index(None, "sha256"))

    id: Mapped[str] = row_id()
    name: Mapped[str]
    state: Mapped[str] = mapped_column(String(16), default=UNDECIDED)
    error: Mapped[dict[str, Any] | None]
    file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    network: Mapped[dict[str, Any]]
    preprocess: Mapped[dict[str, Any] | None]
    class_names: Mapped[list[Any] | None]
    sha256: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256"))
    facts: Mapped[dict[str, Any] | None]
    """parameters, flops, taps: what the check found."""
    created_at: Mapped[datetime] = created()


class Dataset(Owned, Row):
    """Examples in their prepared form: checking, then ready or rejected."""

    UNDECIDED: ClassVar[str] = "checking"
    REFUSED: ClassVar[str] = "rejected"

    __tablename__ = "datasets"
    __table_args__ = (Index(None, "project_id", "created_at", "id"), Index(None, "sha256"))

    id: Mapped[str] = row_id()
    name: Mapped[str]
    state: Mapped[str] = mapped_column(String(16), default=UNDECIDED)
    error: Mapped[dict[str, Any] | None]
    spec: Mapped[dict[str, Any]]
    facts: Mapped[dict[str, Any] | None]
    sha256: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256"))
    """The prepared file, which is what trainers open."""
    created_at: Mapped[datetime] = created()


class Evaluation(Owned, Row):
    """A network on a split of a dataset: pending, then succeeded or failed."""

    UNDECIDED: ClassVar[str] = "pending"
    REFUSED: ClassVar[str] = "failed"

    __tablename__ = "evaluations"
    __table_args__ = (
        Index(None, "project_id", "created_at", "id"),
        Index(None, "key"),
        Index("ix_evaluations_state_created", "state", "created_at"),
    )

    id: Mapped[str] = row_id()
    state: Mapped[str] = mapped_column(String(16), default=UNDECIDED)
    error: Mapped[dict[str, Any] | None]
    teacher_id: Mapped[str | None] = mapped_column(String(48))
    """No foreign keys: what was found out outlives what it was found out of. While it is pending,
    nobody can delete that."""
    job_id: Mapped[str | None] = mapped_column(String(48))
    dataset_id: Mapped[str] = mapped_column(String(48))
    split: Mapped[str] = mapped_column(String(16))
    network: Mapped[dict[str, Any]]
    preprocess: Mapped[dict[str, Any] | None]
    class_names: Mapped[list[Any] | None]
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the weights."""
    key: Mapped[str] = mapped_column(String(64))
    """Of all that the result depends on."""
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = created()
    finished_at: Mapped[datetime | None]


class KnowledgeReport(Owned, Row):
    """What a teacher knows on a dataset: checking while a worker finds out, then ready or
    rejected, as teachers and datasets are."""

    UNDECIDED: ClassVar[str] = "checking"
    REFUSED: ClassVar[str] = "rejected"

    __tablename__ = "knowledge_reports"
    __table_args__ = (
        UniqueConstraint("dataset_id", "subject"),
        Index(None, "teacher_id"),
        Index(None, "project_id", "key"),
        Index(None, "sha256"),
    )

    id: Mapped[str] = row_id()
    subject: Mapped[str] = mapped_column(String(48))
    """The teacher's id, or once more the dataset's for who gave the outputs that it brings."""
    teacher_id: Mapped[str | None] = mapped_column(ForeignKey("teachers.id", ondelete="CASCADE"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(64))
    """Of all that determines it: weights, network, preprocessing, examples."""
    state: Mapped[str] = mapped_column(String(16), default=UNDECIDED)
    error: Mapped[dict[str, Any] | None]
    sha256: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256"))
    """An `app.spec.knowledge.Knowledge` as JSON."""
    created_at: Mapped[datetime] = created()
    changed_at: Mapped[datetime] = mapped_column(default=now(), onupdate=now())
