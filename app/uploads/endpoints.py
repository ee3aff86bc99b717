"""POST and GET /uploads, GET and DELETE /uploads/{id}, PUT its parts, and POST .../complete."""

from typing import Annotated

from fastapi import APIRouter, Body, Header, Path, Request, Response
from sqlalchemy.orm import Session

from app.dependencies import DatabaseDep, SettingsDep, StorageDep
from app.files import headers
from app.files.endpoints import OCTETS
from app.files.schemas import FileOut
from app.http.answers import Answer
from app.http.idempotency import IdempotencyDep
from app.http.pages import Page, PagerDep
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.tables import Upload
from app.uploads import assembly, receiving, repository, service
from app.uploads.geometry import MAX_PARTS
from app.uploads.schemas import BEGIN, ArrivedOut, UploadIn, UploadOut, UploadWithParts

router = APIRouter(tags=["uploads"], route_class=StrictRoute)

UploadId = Annotated[str, Path(pattern=r"^upl_[0-9a-z]{1,40}$")]
Number = Annotated[int, Path(ge=1, le=MAX_PARTS)]


@router.post(
    "/uploads",
    operation_id="create_upload",
    summary="Begin an upload in parts",
    status_code=201,
    response_model=UploadWithParts,
    responses=problems(400, 413, 415, 422, 507),
)
def create_upload(
    wanted: Annotated[UploadIn, Body(examples=[BEGIN])],
    database: DatabaseDep,
    storage: StorageDep,
    settings: SettingsDep,
    idempotency: IdempotencyDep,
) -> Response:
    """For files that are large, or lines that break. PUT each part to its `url`, then complete it.
    Room and quota are taken for all of it now, and given back when it expires."""

    def create(session: Session) -> Answer:
        row = service.begin(session, wanted, storage=storage, settings=settings)
        upload = service.show_new(session, row, storage)
        return Answer(201, upload.model_dump(mode="json"), {"Location": f"/uploads/{row.id}"})

    return idempotency.once(database, create)


@router.get(
    "/uploads", operation_id="list_uploads", summary="List uploads", responses=problems(400)
)
def list_uploads(database: DatabaseDep, pager: PagerDep) -> Page[UploadOut]:
    """Those that have not expired."""
    with database.reading() as session:
        rows, cursor = pager.read(session, repository.listed(), Upload)
        return Page(data=[UploadOut.of(row) for row in rows], next_cursor=cursor)


@router.get(
    "/uploads/{upload_id}",
    operation_id="get_upload",
    summary="Show what has arrived",
    responses=problems(404),
)
def get_upload(upload_id: UploadId, database: DatabaseDep, storage: StorageDep) -> UploadWithParts:
    with database.snapshot() as session:
        so_far = service.progress(session, upload_id)
    return service.show(so_far, storage)


@router.put(
    "/uploads/{upload_id}/parts/{number}",
    operation_id="put_upload_part",
    summary="Send a part",
    responses=problems(400, 404, 409, 413, 415, 422, 503, 507),
    openapi_extra={"requestBody": {"required": True, "content": OCTETS}},
)
async def put_upload_part(
    upload_id: UploadId,
    number: Number,
    request: Request,
    database: DatabaseDep,
    storage: StorageDep,
    settings: SettingsDep,
    content_digest: Annotated[
        str | None,
        Header(description="`sha-256=:<base64>:` (RFC 9530) of this part."),
    ] = None,
) -> ArrivedOut:
    """The body is the part itself. Parts come in any order, side by side, and again after a
    failure: the last one of a number counts."""
    length = request.headers.get("content-length")
    return await receiving.take_part(
        request.stream(),
        upload_id=upload_id,
        number=number,
        announced=None if length is None else int(length),
        expected_sha256=headers.sha256(content_digest),
        settings=settings,
        database=database,
        storage=storage,
    )


@router.post(
    "/uploads/{upload_id}/complete",
    operation_id="complete_upload",
    summary="Make the file",
    status_code=201,
    response_model=FileOut,
    responses={
        200: {"description": "It was complete before: the same file.", "model": FileOut},
        **problems(404, 409, 422, 503, 507),
    },
)
def complete_upload(
    upload_id: UploadId, database: DatabaseDep, storage: StorageDep, idempotency: IdempotencyDep
) -> Response:
    """409 names the parts that are missing. When the whole has another SHA-256 than was announced,
    422 tells that of each part, and all are kept: send again what is wrong, and complete it."""
    return assembly.complete(upload_id, database=database, storage=storage, idempotency=idempotency)


@router.delete(
    "/uploads/{upload_id}",
    operation_id="delete_upload",
    summary="Give an upload up",
    status_code=204,
    responses=problems(404),
)
def delete_upload(upload_id: UploadId, database: DatabaseDep, storage: StorageDep) -> None:
    """The file of one that is complete stays."""
    with database.transaction() as session:
        service.found(repository.lock(session, upload_id), upload_id)
        repository.remove(session, upload_id)
    if storage.client_parts is not None:
        storage.client_parts.drop(upload_id)
