"""GET /teachers/{id}/report and GET /datasets/{id}/report, with their pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic_core import to_json
from sqlalchemy.orm import Session

from app.datasets.endpoints import DatasetId
from app.db import Database
from app.dependencies import DatabaseDep, DoorbellDep, StorageDep
from app.errors import Conflict, NotFound
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.knowledge import service
from app.knowledge.advice import advise
from app.knowledge.page import SAFE, page, waiting
from app.knowledge.pictures import PICTURES, Exhibit
from app.knowledge.schemas import KnowledgeOut, address, told
from app.queue import Doorbell
from app.spec.knowledge import Knowledge
from app.storage import Storage
from app.tables import KnowledgeReport
from app.teachers.endpoints import TeacherId

router = APIRouter(tags=["reports"], route_class=StrictRoute)

Of = Annotated[
    str, Query(pattern=r"^dst_[0-9A-Za-z]{1,40}$", description="On which dataset's examples.")
]
Parameters = Annotated[
    int | None,
    Query(ge=1, le=10**13, description="Of the student that is to be taught, for the advice."),
]
Format = Annotated[Literal["json", "html"], Query(description="html is a page for people.")]
Picture = Annotated[Literal["softness", "similarity", "confused", "calibration"], Path()]

HTML = {"text/html": {"schema": {"type": "string"}, "example": "<!doctype html>..."}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The report.", "content": HTML},
    202: {
        "description": "A worker is making it: ask again.",
        "model": KnowledgeOut,
        "content": HTML,
    },
}
SVG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture.",
        "content": {"image/svg+xml": {"schema": {"type": "string"}, "example": "<svg>...</svg>"}},
    }
}


@dataclass(frozen=True)
class _Asked:
    """A report as an address names it."""

    path: str
    query: dict[str, Any]
    locate: Callable[[Session], service.Subject]
    database: Database
    storage: Storage
    bell: Doorbell

    def answer(self, form: Literal["json", "html"]) -> Response:
        subject, row = self._row()
        here = address(self.path, **self.query)
        ready = row.state == "ready"
        headers = {} if ready else {"Location": here, "Retry-After": "1"}
        exhibit = self._exhibit(subject, row) if ready else None
        status = 200 if ready else 202
        if form == "html":
            named = subject.dataset if subject.teacher is None else subject.teacher
            title = f"What {named.name} knows about {subject.dataset.name}"
            text = waiting(title) if exhibit is None else page(exhibit, title)
            return Response(text, status, {**headers, **SAFE}, "text/html; charset=utf-8")
        out = KnowledgeOut(
            state="ready" if ready else "computing",
            teacher=row.teacher_id,
            dataset=row.dataset_id,
            created_at=row.created_at,
            links={"self": here, "html": address(self.path, **self.query, format="html")},
            **({} if exhibit is None else told(exhibit, self.path, self.query)),
        )
        return Response(to_json(out), status, headers, "application/json")

    def draw(self, picture: str) -> Response:
        subject, row = self._row()
        if row.state != "ready":
            raise Conflict(
                "report_not_ready",
                "The report is still being made.",
                retryable=True,
                headers={"Retry-After": "1"},
            )
        drawn = PICTURES[picture](self._exhibit(subject, row))
        if drawn is None:
            raise NotFound("picture_not_drawn", f"The report has nothing to draw {picture} from.")
        return Response(drawn, 200, SAFE, "image/svg+xml")

    def _row(self) -> tuple[service.Subject, KnowledgeReport]:
        subject, row = service.find_or_ask(self.database, self.locate, self.bell)
        if row.state == "rejected":
            raise service.failure(row)
        return subject, row

    def _exhibit(self, subject: service.Subject, row: KnowledgeReport) -> Exhibit:
        known = Knowledge.model_validate_json(b"".join(self.storage.read(row.sha256 or "")))
        advice = advise(
            known.softness,
            known.calibration,
            parameters=self.query["parameters"],
            teacher_parameters=subject.parameters,
        )
        return Exhibit(known, advice, subject.class_names(known.classes))


def _of_teacher(
    teacher_id: TeacherId,
    dataset: Of,
    database: DatabaseDep,
    storage: StorageDep,
    doorbell: DoorbellDep,
    parameters: Parameters = None,
) -> _Asked:
    return _Asked(
        f"/teachers/{teacher_id}/report",
        {"dataset": dataset, "parameters": parameters},
        lambda session: service.of_teacher(session, teacher_id, dataset),
        database,
        storage,
        doorbell,
    )


def _of_dataset(
    dataset_id: DatasetId,
    database: DatabaseDep,
    storage: StorageDep,
    doorbell: DoorbellDep,
    parameters: Parameters = None,
) -> _Asked:
    return _Asked(
        f"/datasets/{dataset_id}/report",
        {"parameters": parameters},
        lambda session: service.of_dataset(session, dataset_id),
        database,
        storage,
        doorbell,
    )


OfTeacher = Annotated[_Asked, Depends(_of_teacher)]
OfDataset = Annotated[_Asked, Depends(_of_dataset)]


@router.get(
    "/teachers/{teacher_id}/report",
    operation_id="get_teacher_report",
    summary="Show what a teacher knows",
    response_model=KnowledgeOut,
    responses={**ANSWERS, **problems(404, 409, 422, 503)},
)
def get_teacher_report(
    asked: OfTeacher,
    format: Format = "json",  # noqa: A002  (its name in the address)
) -> Response:
    """Its soft targets over the temperature, which classes it finds alike, how far its confidence
    can be trusted, and which temperature to try. Asked for the first time, a worker makes it: 202
    until it has. Then it is kept, for every teacher and dataset of the same content."""
    return asked.answer(format)


@router.get(
    "/teachers/{teacher_id}/report/{picture}.svg",
    operation_id="get_teacher_picture",
    summary="Show a picture of what a teacher knows",
    response_class=Response,
    responses={**SVG, **problems(404, 409, 422, 503)},
)
def get_teacher_picture(asked: OfTeacher, picture: Picture) -> Response:
    """Once the report is made: 409 before."""
    return asked.draw(picture)


@router.get(
    "/datasets/{dataset_id}/report",
    operation_id="get_dataset_report",
    summary="Show what recorded outputs know",
    response_model=KnowledgeOut,
    responses={**ANSWERS, **problems(404, 409, 422, 503)},
)
def get_dataset_report(
    asked: OfDataset,
    format: Format = "json",  # noqa: A002
) -> Response:
    """Of the teacher whose outputs the dataset brings, as of any other. How large that one is
    nobody knows, so the advice is for students of all sizes."""
    return asked.answer(format)


@router.get(
    "/datasets/{dataset_id}/report/{picture}.svg",
    operation_id="get_dataset_picture",
    summary="Show a picture of what recorded outputs know",
    response_class=Response,
    responses={**SVG, **problems(404, 409, 422, 503)},
)
def get_dataset_picture(asked: OfDataset, picture: Picture) -> Response:
    """Once the report is made: 409 before."""
    return asked.draw(picture)
