"""What a file tells of itself."""

from datetime import datetime
from typing import Any

from app.http.schema import Resource, example
from app.tables import File

FILE: dict[str, Any] = {
    "id": "file_06a1x7k2m3n4p5q6r7s8t9v0w",
    "filename": "teacher.safetensors",
    "size": 9570344,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "created_at": "2026-03-01T12:00:00Z",
}


class FileOut(Resource, json_schema_extra=example(FILE)):
    """Uploaded bytes under a client's name."""

    id: str
    filename: str
    size: int
    """Bytes."""
    sha256: str
    created_at: datetime

    @classmethod
    def of(cls, row: File) -> "FileOut":
        return cls(
            id=row.id,
            filename=row.filename,
            size=row.size,
            sha256=row.sha256,
            created_at=row.created_at,
        )
