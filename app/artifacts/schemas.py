"""What an artifact tells of itself."""

from typing import Any, Literal
from urllib.parse import quote

from app.http.schema import Resource, example
from app.tables import Artifact

STUDENT: dict[str, Any] = {
    "name": "student.safetensors",
    "kind": "student",
    "format": "safetensors",
    "size": 5086280,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "facts": {},
    "url": "/jobs/job_06a1x7k2m3n4p5q6r7s8t9v0w/artifacts/student.safetensors",
}


class ArtifactOut(Resource, json_schema_extra=example(STUDENT)):
    """A file that a job made."""

    name: str
    kind: str
    """student, report, checkpoint, ..."""
    format: str
    size: int
    sha256: str
    facts: dict[str, Any]
    """A checkpoint's stage and step, and whether it is the best one; a report's figures."""
    url: str

    @classmethod
    def of(cls, row: Artifact) -> "ArtifactOut":
        return cls(
            name=row.name,
            kind=row.kind,
            format=row.format,
            size=row.size,
            sha256=row.sha256,
            facts=row.facts,
            url=f"/jobs/{row.job_id}/artifacts/{quote(row.name)}",
        )


EXPORT: dict[str, Any] = {
    "job": "job_06a1x7k2m3n4p5q6r7s8t9v0w",
    "format": "onnx",
    "state": "making",
}


class ExportOut(Resource, json_schema_extra=example(EXPORT)):
    """A format of a student that a worker is making."""

    job: str
    format: str
    state: Literal["making"]


class ArtifactsOut(Resource, json_schema_extra=example({"data": [STUDENT]})):
    """Everything that a job has made so far."""

    data: list[ArtifactOut]
