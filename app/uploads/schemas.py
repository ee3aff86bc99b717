"""What an upload is asked to be, and what it tells of itself."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from app.files import headers
from app.files.schemas import FILE
from app.http.schema import Resource, example
from app.spec.base import Spec
from app.tables import Upload
from app.uploads import geometry

_ID = "upl_06a1x7k2m3n4p5q6r7s8t9v0w"
BEGIN: dict[str, Any] = {name: FILE[name] for name in ("filename", "size", "sha256")}


def _plain(name: str) -> str:
    if (reason := headers.flaw(name)) is not None:
        raise ValueError(f"the name {reason}")
    return name


class UploadIn(Spec):
    """A file that is to come in parts."""

    filename: Annotated[str, AfterValidator(_plain)]
    size: int = Field(ge=0, lt=2**63)
    """Bytes of all of it."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of all of it."""


UPLOAD: dict[str, Any] = {
    "id": _ID,
    "state": "open",
    **BEGIN,
    "part_size": 16777216,
    "file": None,
    "created_at": "2026-03-01T12:00:00Z",
    "expires_at": "2026-03-04T12:00:00Z",
    "links": {"self": f"/uploads/{_ID}", "complete": f"/uploads/{_ID}/complete"},
}
PART: dict[str, Any] = {"number": 1, "size": 9570344, "url": f"/uploads/{_ID}/parts/1"}
ARRIVED: dict[str, Any] = {"number": 1, "size": 9570344, "sha256": FILE["sha256"]}


class PartOut(Resource, json_schema_extra=example(PART)):
    """A part to send."""

    number: int
    size: int
    url: str
    """PUT the bytes there. It may be an address in the object store itself, which needs no key and
    holds for a while: `GET /uploads/{id}` gives a new one."""


class ArrivedOut(Resource, json_schema_extra=example(ARRIVED)):
    """A part that is there."""

    number: int
    size: int
    sha256: str | None
    """Null for one that went to the object store itself, where nobody has hashed it yet."""


class UploadOut(Resource, json_schema_extra=example(UPLOAD)):
    """An upload."""

    id: str
    state: Literal["open", "complete"]
    filename: str
    size: int
    sha256: str
    part_size: int
    """Bytes of each part but the last."""
    file: str | None
    """What became of it, once it is complete."""
    created_at: datetime
    expires_at: datetime
    """When it is forgotten, and its parts with it. The file stays."""
    links: dict[str, str]

    @classmethod
    def of(cls, row: Upload, **more: Any) -> Self:
        here = f"/uploads/{row.id}"
        return cls(
            id=row.id,
            state="open" if row.file_id is None else "complete",
            filename=row.filename,
            size=row.size,
            sha256=row.sha256,
            part_size=row.part_size,
            file=row.file_id,
            created_at=row.created_at,
            expires_at=row.expires_at,
            links={"self": here, "complete": f"{here}/complete"},
            **more,
        )


class UploadWithParts(
    UploadOut, json_schema_extra=example({**UPLOAD, "parts": [PART], "arrived": []})
):
    """An upload, part by part."""

    parts: list[PartOut]
    """All of them, to be sent in any order and again after a failure. None when the bytes are
    known already: complete it at once."""
    arrived: list[ArrivedOut]


def parts_to_send(row: Upload, addresses: Sequence[str] | None) -> list[PartOut]:
    """Where each part goes: to these addresses, or to the service."""
    return [
        PartOut(
            number=number,
            size=geometry.length(row.size, row.part_size, number),
            url=addresses[number - 1] if addresses else f"/uploads/{row.id}/parts/{number}",
        )
        for number in geometry.numbers(row.size, row.part_size)
    ]
