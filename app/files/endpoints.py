"""POST and GET /files, GET and DELETE /files/{id}, GET /files/{id}/content."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response

from app.dependencies import DatabaseDep, SettingsDep, StorageDep
from app.errors import NotFound, UnsupportedMedia, in_use
from app.files import headers, repository, service
from app.files.schemas import FileOut
from app.http.blobs import blob_response
from app.http.idempotency import StreamIdempotencyDep
from app.http.pages import Page, PagerDep
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.tables import File

router = APIRouter(tags=["files"], route_class=StrictRoute)

FileId = Annotated[str, Path(pattern=r"^file_[0-9a-z]{1,40}$")]
OCTETS = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


@router.post(
    "/files",
    operation_id="create_file",
    summary="Upload a file",
    status_code=201,
    response_model=FileOut,
    responses=problems(400, 413, 415, 422, 429, 503, 507),
    openapi_extra={"requestBody": {"required": True, "content": OCTETS}},
)
async def create_file(
    request: Request,
    database: DatabaseDep,
    storage: StorageDep,
    settings: SettingsDep,
    idempotency: StreamIdempotencyDep,
    x_filename: Annotated[
        str | None, Header(description="The file's name, percent-encoded where it is not ASCII.")
    ] = None,
    content_digest: Annotated[
        str | None,
        Header(description="`sha-256=:<base64>:` (RFC 9530); on a mismatch nothing is kept."),
    ] = None,
) -> Response:
    """The body is the file itself, streamed to storage. The same bytes are stored once."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise UnsupportedMedia(
            "multipart_not_accepted",
            "Send the file itself as the body (curl --data-binary @FILE), not as a form.",
        )
    return await service.upload(
        request.stream(),
        filename=headers.filename(x_filename),
        expected_sha256=headers.sha256(content_digest),
        keep_free=settings.min_free_bytes,
        announced=int(request.headers.get("content-length", "0")),
        database=database,
        storage=storage,
        idempotency=idempotency,
    )


@router.get("/files", operation_id="list_files", summary="List files", responses=problems(400, 422))
def list_files(
    database: DatabaseDep,
    pager: PagerDep,
    sha256: Annotated[
        str | None, Query(pattern=r"^[0-9a-f]{64}$", description="Only those with these bytes.")
    ] = None,
) -> Page[FileOut]:
    with database.reading() as session:
        rows, cursor = pager.read(session, repository.listed(sha256), File, {"sha256": sha256})
        return Page(data=[FileOut.of(row) for row in rows], next_cursor=cursor)


@router.get(
    "/files/{file_id}",
    operation_id="get_file",
    summary="Show a file",
    responses=problems(404),
)
def get_file(file_id: FileId, database: DatabaseDep) -> FileOut:
    with database.reading() as session:
        file = repository.get(session, file_id)
        if file is None:
            raise _not_found(file_id)
        return FileOut.of(file)


@router.head("/files/{file_id}/content", include_in_schema=False)
@router.get(
    "/files/{file_id}/content",
    operation_id="get_file_content",
    summary="Download a file",
    response_class=Response,
    responses={
        200: {"description": "The bytes.", "content": OCTETS},
        307: {"description": "The bytes are at Location, in the object store itself."},
        **problems(404, 416),
    },
)
def get_file_content(
    file_id: FileId, request: Request, database: DatabaseDep, storage: StorageDep
) -> Response:
    """Takes Range, If-Range and If-None-Match; the ETag is the SHA-256."""
    file = get_file(file_id, database)
    return blob_response(
        request, storage, sha256=file.sha256, size=file.size, filename=file.filename
    )


@router.delete(
    "/files/{file_id}",
    operation_id="delete_file",
    summary="Delete a file",
    status_code=204,
    responses=problems(404, 409),
)
def delete_file(file_id: FileId, database: DatabaseDep) -> None:
    """Teachers and datasets made of it, and jobs that will start from it, keep it: 409."""
    with database.transaction() as session:
        if repository.lock(session, file_id) is None:
            raise _not_found(file_id)
        if users := repository.users(session, file_id):
            raise in_use("file", file_id, users)
        repository.remove(session, file_id)


def _not_found(file_id: str) -> NotFound:
    return NotFound("file_not_found", f"There is no file {file_id}.")
