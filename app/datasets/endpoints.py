"""POST /datasets, GET /datasets, GET and DELETE /datasets/{id}."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response
from sqlalchemy.orm import Session

from app.datasets import repository, service
from app.datasets.schemas import DIGITS, FROM_FILE, FROM_URI, DatasetOut
from app.dependencies import DatabaseDep, DoorbellDep, SourcesDep, StorageDep
from app.errors import NotFound, in_use
from app.evaluations import repository as evaluations
from app.http.answers import Answer, accepted
from app.http.idempotency import IdempotencyDep
from app.http.pages import Page, PagerDep
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.jobs import repository as jobs
from app.spec.dataset import DatasetSpec
from app.tables import Dataset

router = APIRouter(tags=["datasets"], route_class=StrictRoute)

DatasetId = Annotated[str, Path(pattern=r"^dst_[0-9a-z]{1,40}$")]


@router.post(
    "/datasets",
    operation_id="create_dataset",
    summary="Register a dataset",
    status_code=202,
    response_model=DatasetOut,
    responses=problems(400, 404, 413, 415, 422),
)
def create_dataset(
    wanted: Annotated[DatasetSpec, Body(examples=[DIGITS, FROM_FILE, FROM_URI])],
    database: DatabaseDep,
    storage: StorageDep,
    sources: SourcesDep,
    doorbell: DoorbellDep,
    idempotency: IdempotencyDep,
) -> Response:
    """Answers at once with a dataset that a worker then reads, checks and prepares."""

    def create(session: Session) -> Answer:
        row = service.create(session, wanted, storage=storage, sources=sources, bell=doorbell)
        return accepted(DatasetOut.of(row), f"/datasets/{row.id}")

    return idempotency.once(database, create)


@router.get(
    "/datasets", operation_id="list_datasets", summary="List datasets", responses=problems(400)
)
def list_datasets(database: DatabaseDep, pager: PagerDep) -> Page[DatasetOut]:
    with database.reading() as session:
        rows, cursor = pager.read(session, repository.listed(), Dataset)
        return Page(data=[DatasetOut.of(row) for row in rows], next_cursor=cursor)


@router.get(
    "/datasets/{dataset_id}",
    operation_id="get_dataset",
    summary="Show a dataset",
    responses=problems(404),
)
def get_dataset(dataset_id: DatasetId, database: DatabaseDep) -> DatasetOut:
    with database.reading() as session:
        row = repository.get(session, dataset_id)
        if row is None:
            raise _not_found(dataset_id)
        return DatasetOut.of(row)


@router.delete(
    "/datasets/{dataset_id}",
    operation_id="delete_dataset",
    summary="Delete a dataset",
    status_code=204,
    responses=problems(404, 409),
)
def delete_dataset(dataset_id: DatasetId, database: DatabaseDep) -> None:
    """A job or an evaluation that has not ended keeps its dataset: 409."""
    with database.transaction() as session:
        if repository.lock(session, dataset_id) is None:
            raise _not_found(dataset_id)
        if users := [*jobs.users(session, dataset_id), *evaluations.users(session, dataset_id)]:
            raise in_use("dataset", dataset_id, users)
        repository.remove(session, dataset_id)


def _not_found(dataset_id: str) -> NotFound:
    return NotFound("dataset_not_found", f"There is no dataset {dataset_id}.")
