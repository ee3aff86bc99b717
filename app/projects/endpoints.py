"""/projects, /keys, /audit: what admins do. `app.http.gate` lets nobody else in."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response
from sqlalchemy.orm import Session

from app.dependencies import AdminDatabaseDep, CallerDep, KeyringDep
from app.errors import Forbidden
from app.http.answers import Answer
from app.http.idempotency import IdempotencyDep
from app.http.pages import Page, PagerDep
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.projects import repository, service
from app.projects.caller import Caller
from app.projects.schemas import (
    CLIENT,
    LARGER,
    TEAM,
    AuditOut,
    KeyIn,
    KeyOut,
    NewKeyOut,
    ProjectChange,
    ProjectIn,
    ProjectOut,
)
from app.tables import ApiKey, AuditEntry, Project

router = APIRouter(tags=["projects"], route_class=StrictRoute)

ProjectId = Annotated[str, Path(pattern=r"^prj_[0-9a-z]{1,40}$")]
KeyId = Annotated[str, Path(pattern=r"^key_[0-9a-z]{1,40}$")]
AnyProject = Annotated[
    str | None, Query(pattern=r"^prj_[0-9a-z]{1,40}$", description="Of this project alone.")
]
AnyKey = Annotated[
    str | None, Query(pattern=r"^key_[0-9a-z]{1,40}$", description="By this key alone.")
]
Subject = Annotated[
    str | None, Query(pattern=r"^[a-z]{3,5}_[0-9a-z]{1,40}$", description="With this id alone.")
]


@router.post(
    "/projects",
    operation_id="create_project",
    summary="Make a project",
    status_code=201,
    response_model=ProjectOut,
    responses=problems(400, 409, 413, 415, 422),
)
def create_project(
    wanted: Annotated[ProjectIn, Body(examples=[TEAM])],
    database: AdminDatabaseDep,
    caller: CallerDep,
    idempotency: IdempotencyDep,
) -> Response:
    """A tenant of its own: nobody else sees its files, teachers, datasets and jobs."""
    _operator(caller)

    def create(session: Session) -> Answer:
        row = service.create_project(session, **wanted.model_dump())
        body = ProjectOut.of(row, active_jobs=0, stored_bytes=0).model_dump(mode="json")
        return Answer(201, body, {"Location": f"/projects/{row.id}"})

    return idempotency.once(database, create)


@router.get(
    "/projects", operation_id="list_projects", summary="List projects", responses=problems(400)
)
def list_projects(database: AdminDatabaseDep, pager: PagerDep) -> Page[ProjectOut]:
    """All of them for the operator, else the key's own."""
    with database.reading() as session:
        rows, cursor = pager.read(session, repository.projects(session), Project)
        return Page(data=[ProjectOut.of(row) for row in rows], next_cursor=cursor)


@router.get(
    "/projects/{project_id}",
    operation_id="get_project",
    summary="Show a project",
    responses=problems(404),
)
def get_project(project_id: ProjectId, database: AdminDatabaseDep) -> ProjectOut:
    """With what it has now, to compare with what it may have."""
    with database.reading() as session:
        row = repository.project(session, project_id)
        if row is None:
            raise service.no_project(project_id)
        return _counted(session, row)


@router.patch(
    "/projects/{project_id}",
    operation_id="change_project",
    summary="Change a project's limits",
    responses=problems(400, 404, 413, 415, 422),
)
def change_project(
    project_id: ProjectId,
    wanted: Annotated[ProjectChange, Body(examples=[LARGER])],
    database: AdminDatabaseDep,
    caller: CallerDep,
    keyring: KeyringDep,
) -> ProjectOut:
    """Lower ones end nothing that is there."""
    _operator(caller)
    with database.transaction() as session:
        changes = wanted.model_dump(exclude_unset=True)
        answer = _counted(session, service.change_project(session, project_id, **changes))
    keyring.forget()
    return answer


@router.post(
    "/keys",
    operation_id="create_key",
    summary="Make an API key",
    status_code=201,
    response_model=NewKeyOut,
    responses=problems(400, 413, 415, 422),
)
def create_key(
    wanted: Annotated[KeyIn, Body(examples=[CLIENT])],
    database: AdminDatabaseDep,
    caller: CallerDep,
    idempotency: IdempotencyDep,
) -> Response:
    """The answer holds the key itself, this once."""

    def create(session: Session) -> Answer:
        row, key = service.create_key(
            session,
            wanted.project or caller.project_id,
            name=wanted.name,
            scopes=wanted.scopes,
            expires_at=wanted.expires_at,
        )
        body = {**KeyOut.of(row).model_dump(mode="json"), "key": None}
        return Answer(201, body, {"Location": f"/keys/{row.id}"}, secrets={"key": key})

    return idempotency.once(database, create)


@router.get("/keys", operation_id="list_keys", summary="List API keys", responses=problems(400))
def list_keys(
    database: AdminDatabaseDep, pager: PagerDep, project: AnyProject = None
) -> Page[KeyOut]:
    """Revoked and expired ones too."""
    statement = repository.keys()
    if project is not None:
        statement = statement.where(ApiKey.project_id == project)
    with database.reading() as session:
        rows, cursor = pager.read(session, statement, ApiKey, {"project": project})
        return Page(data=[KeyOut.of(row) for row in rows], next_cursor=cursor)


@router.get(
    "/keys/{key_id}", operation_id="get_key", summary="Show an API key", responses=problems(404)
)
def get_key(key_id: KeyId, database: AdminDatabaseDep) -> KeyOut:
    with database.reading() as session:
        row = repository.key(session, key_id)
        if row is None:
            raise service.no_key(key_id)
        return KeyOut.of(row)


@router.delete(
    "/keys/{key_id}",
    operation_id="revoke_key",
    summary="Revoke an API key",
    status_code=204,
    responses=problems(404),
)
def revoke_key(key_id: KeyId, database: AdminDatabaseDep, keyring: KeyringDep) -> None:
    """It stops working at once, in other API processes within two seconds. It stays in lists."""
    with database.transaction() as session:
        service.revoke_key(session, key_id)
    keyring.forget()


@router.get(
    "/audit", operation_id="list_audit", summary="List what was done", responses=problems(400)
)
def list_audit(
    database: AdminDatabaseDep,
    pager: PagerDep,
    project: AnyProject = None,
    key: AnyKey = None,
    subject: Subject = None,
) -> Page[AuditOut]:
    """Every request that changed something: who, when, what. Newest first."""
    statement = repository.audit()
    asked = {"project_id": project, "key_id": key, "subject": subject}
    for column, value in asked.items():
        if value is not None:
            statement = statement.where(getattr(AuditEntry, column) == value)
    with database.reading() as session:
        rows, cursor = pager.read_by((AuditEntry.id,), session, statement, asked)
        return Page(data=[AuditOut.of(row) for row in rows], next_cursor=cursor)


def _operator(caller: Caller) -> None:
    if not caller.is_operator:
        raise Forbidden("operator_only", "Only an admin of the default project may do this.")


def _counted(session: Session, row: Project) -> ProjectOut:
    return ProjectOut.of(
        row,
        active_jobs=repository.active_jobs(session, row.id),
        stored_bytes=repository.stored_bytes(session, row.id),
    )
