"""What a teacher is asked to be, and what it tells of itself."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from app.http.schema import Resource, example
from app.spec.base import Spec
from app.spec.dataset import MAX_CLASSES, FileId, Name, Preprocess
from app.spec.networks import NetworkSpec
from app.tables import Teacher

JobId = Annotated[str, Field(pattern=r"^job_[A-Za-z0-9]{1,40}$")]

FROM_FILE: dict[str, Any] = {
    "name": "mnist 1200-1200",
    "file": "file_06a1x7k2m3n4p5q6r7s8t9v0w",
    "network": {"family": "mlp", "inputs": 784, "hidden": [1200, 1200], "classes": 10},
}
FROM_JOB: dict[str, Any] = {"name": "mnist 1200-1200", "job": "job_06a1x7k2m3n4p5q6r7s8t9v0w"}


class TeacherIn(Spec):
    """A checkpoint with its network, or the student of a job that succeeded."""

    name: Name
    file: FileId | None = None
    """A safetensors checkpoint whose tensors are named as `GET /networks` says."""
    network: NetworkSpec | None = None
    """Together with `file`."""
    job: JobId | None = None
    """Instead of `file` and `network`: the student of this job."""
    preprocess: Preprocess | None = None
    """How stored values become this network's input; null takes the dataset's own normalisation,
    or with `job` what the job used."""
    class_names: tuple[Name, ...] | None = Field(default=None, min_length=2, max_length=MAX_CLASSES)
    """In the order of the logits."""

    @model_validator(mode="after")
    def _file_or_job(self) -> Self:
        if self.job is None and (self.file is None or self.network is None):
            raise ValueError("give file and network, or job")
        if self.job is not None and (self.file is not None or self.network is not None):
            raise ValueError("job brings its own file and network: give one or the other")
        if self.class_names is not None and len(set(self.class_names)) < len(self.class_names):
            raise ValueError("class_names names something twice")
        return self


TEACHER: dict[str, Any] = {
    "id": "tch_06a1x7k2m3n4p5q6r7s8t9v0w",
    "name": "mnist 1200-1200",
    "state": "ready",
    "error": None,
    "file": "file_06a1x7k2m3n4p5q6r7s8t9v0w",
    "job": None,
    "network": FROM_FILE["network"],
    "preprocess": None,
    "class_names": None,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "parameters": 2395210,
    "flops": 4785600,
    "taps": ["activations.0", "activations.1"],
    "quantization": None,
    "created_at": "2026-03-01T12:00:00Z",
    "links": {"self": "/teachers/tch_06a1x7k2m3n4p5q6r7s8t9v0w"},
}


class TeacherOut(Resource, json_schema_extra=example(TEACHER)):
    """A teacher: checking, then ready or rejected."""

    id: str
    name: str
    state: Literal["checking", "ready", "rejected"]
    error: dict[str, Any] | None
    """The problem, when rejected."""
    file: str | None
    job: str | None
    network: dict[str, Any]
    preprocess: dict[str, Any] | None
    class_names: list[str] | None
    sha256: str | None
    """Of the checkpoint."""
    parameters: int | None
    """Trainable numbers; null until ready, like the two below."""
    flops: int | None
    """Of one example's forward pass."""
    taps: list[str] | None
    """The inner layers that feature methods may name."""
    quantization: dict[str, Any] | None
    """How its weights are integers, as its file says; null where they are floats."""
    created_at: datetime
    links: dict[str, str]

    @classmethod
    def of(cls, row: Teacher) -> "TeacherOut":
        facts = row.facts or {}
        return cls(
            id=row.id,
            name=row.name,
            state=row.state,
            error=row.error,
            file=row.file_id,
            job=row.job_id,
            network=row.network,
            preprocess=row.preprocess,
            class_names=row.class_names,
            sha256=row.sha256,
            parameters=facts.get("parameters"),
            flops=facts.get("flops"),
            taps=facts.get("taps"),
            quantization=facts.get("quantization"),
            created_at=row.created_at,
            links={"self": f"/teachers/{row.id}"},
        )
