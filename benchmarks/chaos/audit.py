"""What went wrong, counted from the rows, the stored bytes and the processes that are left."""

import hashlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from app.states import State
from app.storage import DirectoryStorage
from app.tables import (
    Artifact,
    Blob,
    Dataset,
    File,
    IdempotencyKey,
    Job,
    JobEvent,
    KnowledgeReport,
    Teacher,
)
from benchmarks.chaos.client import Client
from benchmarks.chaos.kinds import curves_of
from benchmarks.chaos.service import Service
from benchmarks.chaos.work import Work
from workers.blobcache import BlobCache
from workers.janitor import Janitor


@dataclass
class Audit:
    """`wrong` must be all zeros; `seen` is worth knowing."""

    wrong: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def note(self, what: str, about: str) -> None:
        self.wrong[what] += 1
        self.notes.append(f"{what}: {about}")


def of_jobs(audit: Audit, service: Service, client: Client, work: Work) -> None:
    """While the service still runs: every job, as its client finds it."""
    for what in (
        "lost",
        "accepted twice",
        "stale writes accepted",
        "students unlike the undisturbed one",
        "curves unlike the undisturbed ones",
    ):
        audit.wrong[what] = 0
    for key, ids in client.made.items():
        if len(ids) != 1:
            audit.note("accepted twice", f"{key} was answered with {sorted(ids)}")
    with service.database.reading() as session:
        rows = session.execute(
            select(Job.id, Job.name, Job.state, Job.error).where(Job.name.startswith("chaos-"))
        ).all()
        ends = session.execute(
            select(JobEvent.job_id, func.count())
            .where(JobEvent.to_state.in_((State.SUCCEEDED, State.CANCELLED, State.FAILED)))
            .group_by(JobEvent.job_id)
        ).all()
    states = {job: (state, error) for job, _, state, error in rows}
    for name, count in Counter(name for _, name, _, _ in rows).items():
        if count > 1:
            audit.note("accepted twice", f"{count} jobs are called {name}")
    for job, count in ends:
        if count > 1:
            audit.note("accepted twice", f"{job} ended {count} times")
    for job in states.keys() - work.jobs.keys():
        audit.note("accepted twice", f"nobody knows of {job}")
    for job, submitted in work.jobs.items():
        state, error = states.get(job, ("gone", None))
        if state != submitted.expected:
            audit.note("lost", f"{submitted.key} ({submitted.kind.name}) is {state}: {error}")
            continue
        if state != State.SUCCEEDED:
            continue
        if client.student_sha256(job) != submitted.kind.sha256:
            audit.note("students unlike the undisturbed one", f"{job}, {submitted.kind.name}")
        if curves_of(service.database, job) != submitted.kind.curves:
            audit.note("curves unlike the undisturbed ones", f"{job}, {submitted.kind.name}")
    _stale(audit, service)


def _stale(audit: Audit, service: Service) -> None:
    """Rows that an attempt wrote after the next one had begun, or that a success is made of."""
    with service.database.reading() as session:
        late = session.execute(
            select(Artifact.job_id, Artifact.name)
            .join(
                JobEvent,
                (JobEvent.job_id == Artifact.job_id)
                & (JobEvent.to_state == State.RUNNING)
                & (JobEvent.attempt == Artifact.token + 1),
            )
            .where(Artifact.created_at > JobEvent.at)
        ).all()
        mixed = session.execute(
            select(Artifact.job_id, Artifact.name)
            .join(Job, Job.id == Artifact.job_id)
            .where(
                Job.state == State.SUCCEEDED,
                Artifact.kind.in_(("student", "report", "predictions", "network", "card")),
                Artifact.token != Job.token,
            )
        ).all()
    for job, name in [*late, *mixed]:
        audit.note("stale writes accepted", f"{job}: {name}")


def of_keys(audit: Audit, service: Service, work: Work) -> None:
    """Every key that a client used made one thing, and no unknown key made any."""
    audit.wrong["keys without their one answer"] = 0
    used = {submitted.key for submitted in work.jobs.values()}
    with service.database.reading() as session:
        kept = set(
            session.scalars(select(IdempotencyKey.key).where(IdempotencyKey.key.like("chaos-%")))
        )
    for key in used ^ kept:
        audit.note("keys without their one answer", key)


def of_bytes(audit: Audit, service: Service, damaged: set[str], files: dict[str, str]) -> None:
    """After the end: bytes and rows, once the janitor has been through."""
    for what in ("bytes lost or damaged", "orphan blobs", "files unlike what was sent"):
        audit.wrong[what] = 0
    storage = DirectoryStorage(service.home / "artifacts")
    settings = service.settings
    janitor = Janitor(
        database=service.database,
        storage=storage,
        cache=BlobCache(storage, service.home, settings.blob_cache_bytes),
        home=service.home,
        grace_s=0,
        stray_grace_s=0,
        walk_s=0,
    )
    before = len(_stored(storage.root))
    for _ in range(before // 1000 + 1):  # a pass of the janitor removes a thousand at most
        janitor.clean()
    stored = _stored(storage.root)
    audit.seen["blobs"] = len(stored)
    audit.seen["orphan blobs removed by the janitor"] = before - len(stored)
    with service.database.reading() as session:
        rows = set(session.scalars(select(Blob.sha256)))
        wanted = {
            sha256
            for row in (File, Artifact, Teacher, Dataset, KnowledgeReport)
            for sha256 in session.scalars(select(row.sha256).where(row.sha256.is_not(None)))
        }
        sent = dict(session.execute(select(File.id, File.sha256)).all())
    for sha256 in (rows | stored.keys()) - wanted:
        audit.note("orphan blobs", sha256)
    for sha256 in wanted:
        path = stored.get(sha256)
        if path is not None and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            continue
        if path is not None and sha256 in damaged:
            audit.seen["damaged by us, and not needed since"] += 1
        else:
            audit.note("bytes lost or damaged", sha256)
    for file, sha256 in files.items():
        if sent.get(file) != sha256:
            audit.note("files unlike what was sent", file)


def _stored(root: Path) -> dict[str, Path]:
    return {path.name: path for path in root.glob("??/*")}


def of_processes(audit: Audit, service: Service, code: int) -> None:
    """After the end: who is still there."""
    audit.wrong["stray processes"] = 0
    for process in service.strays():
        with suppress(Exception):
            audit.note("stray processes", f"{process.pid} {' '.join(process.cmdline())}")
    if code != 0:
        audit.note("stray processes", f"make serve ended with {code}")


def of_logs(audit: Audit, service: Service) -> None:
    """How often fencing was needed, and what the logs say that they should not."""
    for path in sorted((service.home / "logs").glob("*.log*")):
        text = path.read_text(errors="replace")
        audit.seen["attempts that found their job taken over"] += text.count("lost its hold")
        audit.seen["damaged checkpoints and results passed over"] += text.count("is damaged")
        audit.seen["terminated without an exception"] += text.count("terminate called")
