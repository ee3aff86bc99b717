"""Every row of the service. ("Model" means a network here.)"""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.db import UTCDateTime, now

# Never JSONB: nothing searches inside, and clients get their fields back in the order they sent.
# A missing document is SQL's NULL, not the JSON value null.
Json = JSON(none_as_null=True)


class Row(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it from the class)
        datetime: UTCDateTime,
        dict[str, Any]: Json,
        list[Any]: Json,
        str: Text,
    }


def _id() -> Mapped[str]:
    return mapped_column(String(48), primary_key=True)


def _created() -> Mapped[datetime]:
    return mapped_column(default=now())


DEFAULT_PROJECT = "prj_default"
"""Made by the migrations: what is done without a key is done in its name."""


class Project(Row):
    """A tenant: owns files, teachers, datasets and jobs, which no other project sees."""

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("name"), Index(None, "created_at", "id"))

    id: Mapped[str] = _id()
    name: Mapped[str] = mapped_column(String(63))
    max_active_jobs: Mapped[int | None]
    """Null takes the service's setting, as below."""
    max_stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = _created()


class Owned:
    """What belongs to a project. `app.tenancy` keeps it there."""

    # No foreign key: each insert would lock the row that all inserts of a project share, and
    # projects are never deleted.
    project_id: Mapped[str] = mapped_column(String(48))


class ApiKey(Owned, Row):
    """A client's credential. The key itself is known to its client alone."""

    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("sha256"), Index(None, "project_id", "created_at", "id"))

    id: Mapped[str] = _id()
    project_id: Mapped[str] = mapped_column(String(48), ForeignKey("projects.id"))
    name: Mapped[str]
    start: Mapped[str] = mapped_column(String(16))
    """The key's first characters, by which a person tells it from others."""
    sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime] = _created()
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To the minute."""


class AuditEntry(Owned, Row):
    """Who changed what, and when: written in the transaction of the change."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "project_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime] = _created()
    key_id: Mapped[str | None] = mapped_column(String(48))
    """Null where no key was asked for, and for the command line."""
    action: Mapped[str] = mapped_column(String(64))
    """The operation's `operationId`."""
    subject: Mapped[str | None] = mapped_column(String(200))
    request_id: Mapped[str | None] = mapped_column(String(128))


class Blob(Row):
    """Bytes in storage, known by their hash and stored once."""

    __tablename__ = "blobs"
    __table_args__ = (Index(None, "orphaned_at"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = _created()
    orphaned_at: Mapped[datetime | None]
    """Since when no row refers to it, as far as anybody has looked."""


class File(Owned, Row):
    """A client's name for a blob."""

    __tablename__ = "files"
    __table_args__ = (Index(None, "sha256"), Index(None, "project_id", "created_at", "id"))

    id: Mapped[str] = _id()
    filename: Mapped[str]
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"))
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = _created()


class Upload(Owned, Row):
    """A file that comes in parts; it becomes one when all of them are there."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index(None, "project_id", "created_at", "id"),
        Index(None, "expires_at"),
        Index(None, "file_id"),
    )

    id: Mapped[str] = _id()
    filename: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the whole, as announced."""
    part_size: Mapped[int] = mapped_column(BigInteger)
    file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id", ondelete="CASCADE"))
    """Null until it is complete."""
    created_at: Mapped[datetime] = _created()
    expires_at: Mapped[datetime]


class UploadPart(Row):
    """A part that has arrived: a blob, until the upload is complete or has expired."""

    __tablename__ = "upload_parts"
    __table_args__ = (Index(None, "sha256"),)

    upload_id: Mapped[str] = mapped_column(
        ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    """From 1."""
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"))
    size: Mapped[int] = mapped_column(BigInteger)


class Teacher(Owned, Row):
    """A checkpoint with its network: checking, then ready or rejected."""

    UNDECIDED: ClassVar[str] = "checking"
    REFUSED: ClassVar[str] = "rejected"

    __tablename__ = "teachers"
    __table_args__ = (Index(None, "project_id", "created_at", "id"), Index(None, "sha256"))

    id: Mapped[str] = _id()
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
    created_at: Mapped[datetime] = _created()


class Dataset(Owned, Row):
    """Examples in their prepared form: checking, then ready or rejected."""

    UNDECIDED: ClassVar[str] = "checking"
    REFUSED: ClassVar[str] = "rejected"

    __tablename__ = "datasets"
    __table_args__ = (Index(None, "project_id", "created_at", "id"), Index(None, "sha256"))

    id: Mapped[str] = _id()
    name: Mapped[str]
    state: Mapped[str] = mapped_column(String(16), default=UNDECIDED)
    error: Mapped[dict[str, Any] | None]
    spec: Mapped[dict[str, Any]]
    facts: Mapped[dict[str, Any] | None]
    sha256: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256"))
    """The prepared file, which is what trainers open."""
    created_at: Mapped[datetime] = _created()


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

    id: Mapped[str] = _id()
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
    created_at: Mapped[datetime] = _created()
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

    id: Mapped[str] = _id()
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
    created_at: Mapped[datetime] = _created()
    changed_at: Mapped[datetime] = mapped_column(default=now(), onupdate=now())


class Job(Owned, Row):
    """The job. A message on the broker only wakes a worker up for it."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "project_id", "created_at", "id"),
        Index(
            "ix_jobs_active",
            "project_id",
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
        Index("ix_jobs_state_created", "state", "created_at"),
        Index(
            "ix_jobs_sweep",
            "sweep_id",
            postgresql_where=text("sweep_id IS NOT NULL"),
            sqlite_where=text("sweep_id IS NOT NULL"),
        ),
        Index("ix_jobs_lease_until", "lease_until"),
    )

    id: Mapped[str] = _id()
    name: Mapped[str]
    state: Mapped[str] = mapped_column(String(16), default="queued")
    phase: Mapped[str] = mapped_column(default="queued")
    spec: Mapped[dict[str, Any]]
    labels: Mapped[dict[str, Any]] = mapped_column(default=dict)
    progress: Mapped[dict[str, Any]]
    error: Mapped[dict[str, Any] | None]
    sweep_id: Mapped[str | None] = mapped_column(ForeignKey("sweeps.id"))
    sweep_place: Mapped[int | None]
    """Which point of the sweep's grid it is."""
    resolved: Mapped[dict[str, Any] | None]
    """Device kind, threads, precision: fixed at the first claim, kept on resume."""

    token: Mapped[int] = mapped_column(default=0)
    """Fencing token: raised by each claim; every write of an attempt must carry it."""
    attempt: Mapped[int] = mapped_column(default=0)
    fruitless: Mapped[int] = mapped_column(default=0)
    """Attempts in a row that ended without checkpoint progress."""
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    seq: Mapped[int] = mapped_column(BigInteger, default=0)
    """Last number given to a metric or event of this job."""
    request_id: Mapped[str | None] = mapped_column(String(128))
    """Of the request that made it: its logs carry that id wherever they are written."""
    traceparent: Mapped[str | None] = mapped_column(String(55))
    """Of the request's span (W3C Trace Context), where it was traced."""

    created_at: Mapped[datetime] = _created()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Sweep(Owned, Row):
    """A grid of jobs that differ in some fields. Where it stands follows from its jobs."""

    __tablename__ = "sweeps"
    __table_args__ = (Index(None, "project_id", "created_at", "id"),)

    id: Mapped[str] = _id()
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    """The job and the grid, as asked for."""
    created_at: Mapped[datetime] = _created()


class JobLabel(Row):
    """A job's labels once more, for the index behind ?label=."""

    __tablename__ = "job_labels"
    __table_args__ = (Index("ix_job_labels_key_value", "key", "value", "job_id"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(63), primary_key=True)
    value: Mapped[str] = mapped_column(String(63))


class JobEvent(Row):
    """The audit of a job's transitions."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = _created()
    from_state: Mapped[str | None] = mapped_column(String(16))
    to_state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int]
    reason: Mapped[str]
    kept_step: Mapped[int | None] = mapped_column(BigInteger)
    """Metrics of later steps were deleted: the attempt that begins writes them again."""


class JobLog(Row):
    """A piece of what a job's trainers said, attempt after attempt. The oldest ones are dropped."""

    __tablename__ = "job_logs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """Of its first byte, counted over all that was ever said."""
    content: Mapped[bytes]


class MetricSeries(Row):
    """One curve of a job."""

    __tablename__ = "metric_series"
    __table_args__ = (UniqueConstraint("job_id", "key"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(200))
    rows: Mapped[int | None] = mapped_column(BigInteger)
    """Points of the curve; null where they have not been counted and rolled up."""
    step: Mapped[int | None] = mapped_column(BigInteger)
    """The last one's."""
    open: Mapped[list[Any] | None]
    """What is in the roll-ups that are not full yet, see `app.metrics.rollups.Roller`."""


class MetricPoint(Row):
    """One value of a curve; written again, it is overwritten (a resumed job repeats steps)."""

    __tablename__ = "metric_points"
    __table_args__ = (Index("ix_metric_points_series_seq", "series_id", "seq"),)

    series_id: Mapped[int] = mapped_column(
        ForeignKey("metric_series.id", ondelete="CASCADE"), primary_key=True
    )
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[float]
    time: Mapped[float]
    """Seconds since 1970."""
    value: Mapped[float | None]
    """Null stands for a value that was not finite."""


class MetricRollup(Row):
    """What is known of `size` neighbouring points of a curve: see `app.metrics.rollups`."""

    __tablename__ = "metric_rollups"

    series_id: Mapped[int] = mapped_column(
        ForeignKey("metric_series.id", ondelete="CASCADE"), primary_key=True
    )
    size: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger)
    """Of the last point, as are epoch, time and value."""
    epoch: Mapped[float]
    time: Mapped[float]
    value: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    total: Mapped[float]
    """The sum of the finite values, times `app.metrics.rollups.SCALE`."""
    finite: Mapped[int]


class Artifact(Row):
    """A file that a job made. Kinds: student, report, checkpoint, ..."""

    __tablename__ = "artifacts"
    __table_args__ = (UniqueConstraint("job_id", "name"), Index(None, "sha256"))

    id: Mapped[str] = _id()
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(32))
    format: Mapped[str] = mapped_column(String(32))
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"))
    size: Mapped[int] = mapped_column(BigInteger)
    token: Mapped[int]
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """A checkpoint's stage and step; whether it is the best one."""
    created_at: Mapped[datetime] = _created()


class Export(Row):
    """A format of a student that somebody has asked for: until it is an artifact, or for good with
    the reason why it cannot be made."""

    __tablename__ = "exports"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    format: Mapped[str] = mapped_column(String(16), primary_key=True)
    error: Mapped[dict[str, Any] | None]
    """The problem; null while it is being made."""
    created_at: Mapped[datetime] = _created()


class IdempotencyKey(Owned, Row):
    """The first answer to a POST, kept in the transaction that made its row."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"),)

    project_id: Mapped[str] = mapped_column(String(48), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    operation: Mapped[str] = mapped_column(String(64), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = _created()


class Webhook(Owned, Row):
    """An address of a client's that is told what happens."""

    __tablename__ = "webhooks"
    __table_args__ = (Index(None, "project_id", "created_at", "id"),)

    id: Mapped[str] = _id()
    name: Mapped[str]
    url: Mapped[str]
    events: Mapped[list[Any] | None]
    """Types; null for all, those to come too."""
    salt: Mapped[str] = mapped_column(String(64))
    """Its secret is made of this and the service's own, see `app.webhooks.secrets`."""
    old_salt: Mapped[str | None] = mapped_column(String(64))
    old_until: Mapped[datetime | None]
    """So long the secret before this one signs too."""
    made_with: Mapped[str] = mapped_column(String(16))
    """Tells the service's secret from others."""
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    failing_since: Mapped[datetime | None]
    """The first failure since something was taken."""
    created_at: Mapped[datetime] = _created()


class Delivery(Owned, Row):
    """One message to one webhook. Waiting ones are the outbox: workers try those that are due."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_listed", "webhook_id", "created_at", "id"),
        Index(
            "ix_webhook_deliveries_due",
            "due_at",
            postgresql_where=text("state = 'waiting'"),
            sqlite_where=text("state = 'waiting'"),
        ),
        Index(None, "created_at"),
    )

    id: Mapped[str] = _id()
    """The same in every try: by it a receiver tells that it has this message already."""
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(String(32))
    payload: Mapped[str]
    """The body, letter by letter."""
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    """waiting, delivered or failed."""
    failures: Mapped[int] = mapped_column(default=0)
    """Since it was last asked for."""
    tries: Mapped[list[Any]] = mapped_column(default=list)
    """The last ones: at, status, error, seconds."""
    due_at: Mapped[datetime | None] = mapped_column(default=now())
    """Null while its webhook is disabled. Who sends it moves this on first: should that one die,
    another sends it then."""
    created_at: Mapped[datetime] = _created()
    ended_at: Mapped[datetime | None]


class Tally(Row):
    """What all workers together have counted, and when last."""

    __tablename__ = "tallies"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger, default=0)
    counted_at: Mapped[datetime] = _created()


class Worker(Row):
    """A living worker process and what it can do, so that estimates need no torch."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    queue: Mapped[str] = mapped_column(String(32))
    device: Mapped[str | None]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    gflops: Mapped[dict[str, Any] | None]
    """Measured matrix rates by precision, in GFLOP/s."""
    step_s: Mapped[float | None]
    """Measured seconds of a training step whose arithmetic is next to nothing."""
    started_at: Mapped[datetime] = _created()
    seen_at: Mapped[datetime] = _created()
