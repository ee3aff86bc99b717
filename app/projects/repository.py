"""SQL on projects and keys."""

from dataclasses import dataclass

from sqlalchemy import CompoundSelect, Select, func, select, union, update
from sqlalchemy.orm import Session

from app.db import now, now_plus
from app.tables import (
    DEFAULT_PROJECT,
    ApiKey,
    Artifact,
    AuditEntry,
    Blob,
    Dataset,
    File,
    Job,
    KnowledgeReport,
    Project,
    Teacher,
    Upload,
)
from app.tenancy import seen_project


def projects(session: Session) -> Select[Project]:
    """Those that the session may see."""
    only = seen_project(session)
    return select(Project) if only is None else select(Project).where(Project.id == only)


def project(session: Session, project_id: str, *, lock: bool = False) -> Project | None:
    statement = projects(session).where(Project.id == project_id)
    if lock:
        statement = statement.with_for_update()
    return session.scalars(statement).one_or_none()


def project_named(session: Session, name: str) -> Project | None:
    return session.scalars(projects(session).where(Project.name == name)).one_or_none()


def default_project(session: Session) -> Project:
    return session.get_one(Project, DEFAULT_PROJECT)


def lock_project(session: Session, project_id: str) -> None:
    """What counts against a quota is counted by one transaction at a time."""
    session.execute(
        select(Project.id).where(Project.id == project_id).with_for_update(key_share=True)
    )


def active_jobs(session: Session, project_id: str) -> int:
    """Queued, running, paused: those that have not ended."""
    statement = select(func.count()).select_from(Job)
    return (
        session.scalar(statement.where(Job.project_id == project_id, Job.finished_at.is_(None)))
        or 0
    )


def stored_bytes(session: Session, project_id: str) -> int:
    """Of all blobs that the project's rows refer to, each counted once, and what uploads that have
    begun will bring."""
    stored = select(func.coalesce(func.sum(Blob.size), 0)).where(
        Blob.sha256.in_(_referred(project_id))
    )
    coming = select(func.coalesce(func.sum(Upload.size), 0)).where(
        Upload.project_id == project_id, Upload.file_id.is_(None), Upload.expires_at > now()
    )
    return (session.scalar(stored) or 0) + (session.scalar(coming) or 0)


def refers_to(
    session: Session, project_id: str, sha256: str | None, size: int | None = None
) -> bool:
    """Whether the project already pays for these bytes."""
    statement = select(Blob.sha256).where(
        Blob.sha256 == sha256, Blob.sha256.in_(_referred(project_id))
    )
    if size is not None:
        statement = statement.where(Blob.size == size)
    return session.scalar(statement) is not None


def _referred(project_id: str) -> CompoundSelect[str]:
    owners = (File, Teacher, Dataset, KnowledgeReport)
    return union(
        *(select(row.sha256).where(row.project_id == project_id) for row in owners),
        select(Artifact.sha256).join(Job).where(Job.project_id == project_id),
    )


def keys() -> Select[ApiKey]:
    return select(ApiKey)


def key(session: Session, key_id: str, *, lock: bool = False) -> ApiKey | None:
    return session.get(ApiKey, key_id, with_for_update=lock)


@dataclass(frozen=True)
class Found:
    """A key, its project, and what the database's clock says of it."""

    key: ApiKey
    project: Project
    expired: bool
    idle: bool
    """Not noted as used for a while."""


def key_by_digest(session: Session, sha256: str, *, idle_s: float) -> Found | None:
    found = session.execute(
        select(
            ApiKey,
            Project,
            func.coalesce(ApiKey.expires_at <= now(), False),
            func.coalesce(ApiKey.last_used_at < now_plus(-idle_s), True),
        )
        .join(Project, Project.id == ApiKey.project_id)
        .where(ApiKey.sha256 == sha256)
    ).one_or_none()
    return None if found is None else Found(found[0], found[1], bool(found[2]), bool(found[3]))


def usable_keys(session: Session, project_id: str) -> int:
    """Neither revoked nor expired."""
    statement = select(func.count()).select_from(ApiKey)
    return (
        session.scalar(
            statement.where(
                ApiKey.project_id == project_id,
                ApiKey.revoked_at.is_(None),
                func.coalesce(ApiKey.expires_at > now(), True),
            )
        )
        or 0
    )


def touch(session: Session, key_id: str) -> None:
    """Notes that the key is in use."""
    session.execute(
        update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=now()),
        execution_options={"synchronize_session": False},
    )


def audit() -> Select[AuditEntry]:
    return select(AuditEntry)
