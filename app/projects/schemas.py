"""What projects, keys and the audit are asked to be, and what they tell."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from app.http.schema import Instant, Resource, example
from app.projects.keys import DEFAULT_SCOPES, Scope
from app.spec.base import Spec
from app.spec.dataset import Name
from app.tables import ApiKey, AuditEntry, Project

ProjectName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
ProjectRef = Annotated[str, Field(pattern=r"^prj_[0-9a-z]{1,40}$")]
Jobs = Annotated[int, Field(ge=0, le=2**31 - 1)]
Bytes = Annotated[int, Field(ge=0, le=2**62)]

TEAM: dict[str, Any] = {"name": "vision", "max_active_jobs": 20, "max_stored_bytes": 10**12}
LARGER: dict[str, Any] = {"max_active_jobs": 50}
CLIENT: dict[str, Any] = {"name": "laptop of ada", "scopes": ["jobs:read", "jobs:write"]}


class ProjectIn(Spec, json_schema_extra=example(TEAM)):
    """A tenant. Limits that are null are the service's own."""

    name: ProjectName
    max_active_jobs: Jobs | None = None
    """Queued, running and paused at a time."""
    max_stored_bytes: Bytes | None = None
    """Of all that its files, teachers, datasets and jobs hold, equal bytes counted once."""


class ProjectChange(Spec, json_schema_extra=example(LARGER)):
    """Limits that are to change; what is left out stays, null is the service's own."""

    max_active_jobs: Jobs | None = None
    max_stored_bytes: Bytes | None = None


PROJECT: dict[str, Any] = {
    "id": "prj_06a1x7k2m3n4p5q6r7s8t9v0w",
    **TEAM,
    "active_jobs": 3,
    "stored_bytes": 734003200,
    "created_at": "2026-03-01T12:00:00Z",
    "links": {"self": "/projects/prj_06a1x7k2m3n4p5q6r7s8t9v0w"},
}


class ProjectOut(Resource, json_schema_extra=example(PROJECT)):
    """A tenant, its limits, and what it has."""

    id: str
    name: str
    max_active_jobs: int | None
    """Null: the service's own limit."""
    max_stored_bytes: int | None
    active_jobs: int | None = None
    """Null in lists, like the one below."""
    stored_bytes: int | None = None
    created_at: datetime
    links: dict[str, str]

    @classmethod
    def of(cls, row: Project, **counted: int) -> "ProjectOut":
        return cls(
            id=row.id,
            name=row.name,
            max_active_jobs=row.max_active_jobs,
            max_stored_bytes=row.max_stored_bytes,
            created_at=row.created_at,
            links={"self": f"/projects/{row.id}"},
            **counted,
        )


class KeyIn(Spec, json_schema_extra=example(CLIENT)):
    """A key for one client."""

    name: Name
    """Whose it is, and for what."""
    scopes: tuple[Scope, ...] = Field(default=DEFAULT_SCOPES, min_length=1)
    """`admin` may do everything, and manage the project's keys; of the default project, the
    whole service."""
    project: ProjectRef | None = None
    """Null is the project of the key that asks; only the operator may name another."""
    expires_at: Instant | None = None


KEY: dict[str, Any] = {
    "id": "key_06a1x7k2m3n4p5q6r7s8t9v0w",
    "name": "laptop of ada",
    "project": "prj_06a1x7k2m3n4p5q6r7s8t9v0w",
    "scopes": ["jobs:read", "jobs:write"],
    "start": "sh_4f7k2m9",
    "created_at": "2026-03-01T12:00:00Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": "2026-03-02T08:30:00Z",
    "links": {"self": "/keys/key_06a1x7k2m3n4p5q6r7s8t9v0w"},
}


class KeyOut(Resource, json_schema_extra=example(KEY)):
    """A key, without the secret itself."""

    id: str
    name: str
    project: str
    scopes: list[Scope]
    start: str
    """The key's first characters."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""
    links: dict[str, str]

    @classmethod
    def of(cls, row: ApiKey) -> "KeyOut":
        return cls(
            id=row.id,
            name=row.name,
            project=row.project_id,
            scopes=row.scopes,
            start=row.start,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            last_used_at=row.last_used_at,
            links={"self": f"/keys/{row.id}"},
        )


NEW_KEY: dict[str, Any] = {**KEY, "key": "sh_4f7k2m9" + "x" * 45, "last_used_at": None}


class NewKeyOut(KeyOut, Resource, json_schema_extra=example(NEW_KEY)):
    """A key that was just made."""

    key: str | None = None
    """The secret. It is told this once: an answer that is replayed for its Idempotency-Key has
    null here."""


ENTRY: dict[str, Any] = {
    "id": 4711,
    "at": "2026-03-01T12:00:00Z",
    "project": "prj_06a1x7k2m3n4p5q6r7s8t9v0w",
    "key": "key_06a1x7k2m3n4p5q6r7s8t9v0w",
    "action": "create_job",
    "subject": "job_06a1x7k2m3n4p5q6r7s8t9v0w",
    "request_id": "req_5f0c2b7e9a31",
}


class AuditOut(Resource, json_schema_extra=example(ENTRY)):
    """One thing that somebody did."""

    id: int
    at: datetime
    project: str
    """Of whoever did it."""
    key: str | None
    """Null where no key was asked for, and for the command line."""
    action: str
    """An `operationId` of this document; `expire_checkpoints`, `expire_artifacts` and
    `expire_metrics` are the service's own doing."""
    subject: str | None
    """The id of what was made, changed or deleted."""
    request_id: str | None

    @classmethod
    def of(cls, row: AuditEntry) -> "AuditOut":
        return cls(
            id=row.id,
            at=row.at,
            project=row.project_id,
            key=row.key_id,
            action=row.action,
            subject=row.subject,
            request_id=row.request_id,
        )
