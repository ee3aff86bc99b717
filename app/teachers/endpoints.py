"""POST /teachers, GET /teachers, GET and DELETE /teachers/{id}."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response
from sqlalchemy.orm import Session

from app.dependencies import DatabaseDep, DoorbellDep, SettingsDep, StorageDep
from app.errors import NotFound, in_use
from app.evaluations import repository as evaluations
from app.http.answers import Answer, accepted
from app.http.idempotency import IdempotencyDep
from app.http.pages import Page, PagerDep
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.jobs import repository as jobs
from app.tables import Teacher
from app.teachers import repository, service
from app.teachers.schemas import FROM_FILE, FROM_JOB, TeacherIn, TeacherOut

router = APIRouter(tags=["teachers"], route_class=StrictRoute)

TeacherId = Annotated[str, Path(pattern=r"^tch_[0-9a-z]{1,40}$")]


@router.post(
    "/teachers",
    operation_id="create_teacher",
    summary="Register a teacher",
    status_code=202,
    response_model=TeacherOut,
    responses=problems(400, 409, 413, 415, 422),
)
def create_teacher(
    wanted: Annotated[TeacherIn, Body(examples=[FROM_FILE, FROM_JOB])],
    database: DatabaseDep,
    storage: StorageDep,
    settings: SettingsDep,
    doorbell: DoorbellDep,
    idempotency: IdempotencyDep,
) -> Response:
    """Answers at once with a teacher that a worker then checks, tensor by tensor."""

    def create(session: Session) -> Answer:
        row = service.create(session, wanted, storage=storage, settings=settings, bell=doorbell)
        return accepted(TeacherOut.of(row), f"/teachers/{row.id}")

    return idempotency.once(database, create)


@router.get(
    "/teachers", operation_id="list_teachers", summary="List teachers", responses=problems(400)
)
def list_teachers(database: DatabaseDep, pager: PagerDep) -> Page[TeacherOut]:
    with database.reading() as session:
        rows, cursor = pager.read(session, repository.listed(), Teacher)
        return Page(data=[TeacherOut.of(row) for row in rows], next_cursor=cursor)


@router.get(
    "/teachers/{teacher_id}",
    operation_id="get_teacher",
    summary="Show a teacher",
    responses=problems(404),
)
def get_teacher(teacher_id: TeacherId, database: DatabaseDep) -> TeacherOut:
    with database.reading() as session:
        row = repository.get(session, teacher_id)
        if row is None:
            raise _not_found(teacher_id)
        return TeacherOut.of(row)


@router.delete(
    "/teachers/{teacher_id}",
    operation_id="delete_teacher",
    summary="Delete a teacher",
    status_code=204,
    responses=problems(404, 409),
)
def delete_teacher(teacher_id: TeacherId, database: DatabaseDep) -> None:
    """A job or an evaluation that has not ended keeps its teachers: 409."""
    with database.transaction() as session:
        if repository.lock(session, teacher_id) is None:
            raise _not_found(teacher_id)
        if users := [*jobs.users(session, teacher_id), *evaluations.users(session, teacher_id)]:
            raise in_use("teacher", teacher_id, users)
        repository.remove(session, teacher_id)


def _not_found(teacher_id: str) -> NotFound:
    return NotFound("teacher_not_found", f"There is no teacher {teacher_id}.")
