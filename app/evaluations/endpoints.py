"""POST and GET /evaluations, GET and DELETE /evaluations/{id}."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response
from sqlalchemy.orm import Session

from app.dependencies import DatabaseDep, DoorbellDep, StorageDep
from app.errors import NotFound
from app.evaluations import repository, service
from app.evaluations.schemas import OF_STUDENT, OF_TEACHER, EvaluationIn, EvaluationOut
from app.http.answers import Answer, accepted
from app.http.idempotency import IdempotencyDep
from app.http.pages import Page, PagerDep
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.tables import Evaluation

router = APIRouter(tags=["evaluations"], route_class=StrictRoute)

EvaluationId = Annotated[str, Path(pattern=r"^evl_[0-9a-z]{1,40}$")]
Only = Annotated[str | None, Query(max_length=64, pattern=r"^[a-z]{3}_[0-9a-z]+$")]


@router.post(
    "/evaluations",
    operation_id="create_evaluation",
    summary="Evaluate a teacher or a student",
    status_code=202,
    response_model=EvaluationOut,
    responses=problems(400, 409, 413, 415, 422),
)
def create_evaluation(
    wanted: Annotated[EvaluationIn, Body(examples=[OF_TEACHER, OF_STUDENT])],
    database: DatabaseDep,
    storage: StorageDep,
    doorbell: DoorbellDep,
    idempotency: IdempotencyDep,
) -> Response:
    """Accuracy, calibration and confusions on a split, before a job is spent. A worker computes
    it; what was asked before is answered at once."""

    def create(session: Session) -> Answer:
        row = service.create(session, wanted, storage=storage, bell=doorbell)
        return accepted(EvaluationOut.of(row), f"/evaluations/{row.id}")

    return idempotency.once(database, create)


@router.get(
    "/evaluations",
    operation_id="list_evaluations",
    summary="List evaluations",
    responses=problems(400, 422),
)
def list_evaluations(
    database: DatabaseDep,
    pager: PagerDep,
    teacher: Only = None,
    job: Only = None,
    dataset: Only = None,
) -> Page[EvaluationOut]:
    filters = {"teacher": teacher, "job": job, "dataset": dataset}
    with database.reading() as session:
        statement = repository.listed(teacher, job, dataset)
        rows, cursor = pager.read(session, statement, Evaluation, filters)
        return Page(data=[EvaluationOut.of(row) for row in rows], next_cursor=cursor)


@router.get(
    "/evaluations/{evaluation_id}",
    operation_id="get_evaluation",
    summary="Show an evaluation",
    responses=problems(404),
)
def get_evaluation(evaluation_id: EvaluationId, database: DatabaseDep) -> EvaluationOut:
    with database.reading() as session:
        row = repository.get(session, evaluation_id)
        if row is None:
            raise _not_found(evaluation_id)
        return EvaluationOut.of(row)


@router.delete(
    "/evaluations/{evaluation_id}",
    operation_id="delete_evaluation",
    summary="Delete an evaluation",
    status_code=204,
    responses=problems(404),
)
def delete_evaluation(evaluation_id: EvaluationId, database: DatabaseDep) -> None:
    """At any time: what a worker still finds out about it is dropped."""
    with database.transaction() as session:
        if not repository.remove(session, evaluation_id):
            raise _not_found(evaluation_id)


def _not_found(evaluation_id: str) -> NotFound:
    return NotFound("evaluation_not_found", f"There is no evaluation {evaluation_id}.")
