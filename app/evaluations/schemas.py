"""What an evaluation is asked, and what it tells."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from app.http.schema import Resource, example
from app.spec.base import Spec
from app.spec.dataset import SplitName
from app.spec.job import DatasetId, TeacherId
from app.tables import Evaluation
from app.teachers.schemas import JobId

OF_TEACHER: dict[str, Any] = {
    "teacher": "tch_06a1x7k2m3n4p5q6r7s8t9v0w",
    "dataset": "dst_06a1x7k2m3n4p5q6r7s8t9v0w",
    "split": "test",
}
OF_STUDENT: dict[str, Any] = {
    "job": "job_06a1x7k2m3n4p5q6r7s8t9v0w",
    "dataset": "dst_06a1x7k2m3n4p5q6r7s8t9v0w",
    "split": "test",
}


class EvaluationIn(Spec):
    """A teacher, or the student of a job that succeeded, on one split of a dataset."""

    teacher: TeacherId | None = None
    job: JobId | None = None
    dataset: DatasetId
    split: SplitName = "test"

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.teacher is None) == (self.job is None):
            raise ValueError("give exactly one of teacher and job")
        return self


class ClassOut(Resource):
    """How one class went."""

    model_config = ConfigDict(serialize_by_alias=True)

    class_: int = Field(alias="class")
    name: str
    examples: int
    errors: int
    accuracy: float | None
    """Null where the split has no example of it."""


class BinOut(Resource):
    """The examples whose confidence lay between `low` and `high`."""

    low: float
    high: float
    examples: int
    confidence: float | None
    """Its mean; null in an empty bin, as is accuracy. A calibrated network has the two equal."""
    accuracy: float | None


class ConfusionOut(Resource):
    """Examples of one class that were taken for another."""

    label: int
    predicted: int
    examples: int


RESULT: dict[str, Any] = {
    "accuracy": 0.9,
    "interval": [0.743833, 0.965411],
    "errors": 3,
    "examples": 30,
    "nll": 0.31,
    "ece": 0.02,
    "reliability": [{"low": 0.9, "high": 1.0, "examples": 30, "confidence": 0.92, "accuracy": 0.9}],
    "per_class": [
        {"class": 0, "name": "cat", "examples": 15, "errors": 3, "accuracy": 0.8},
        {"class": 1, "name": "dog", "examples": 15, "errors": 0, "accuracy": 1.0},
    ],
    "confusions": [{"label": 0, "predicted": 1, "examples": 3}],
}


class ResultOut(Resource, json_schema_extra=example(RESULT)):
    """Everything on the same examples, in float32."""

    accuracy: float
    interval: tuple[float, float]
    """95 % (Wilson)."""
    errors: int
    examples: int
    nll: float
    ece: float
    """Expected calibration error in equal bins of confidence."""
    reliability: list[BinOut]
    per_class: list[ClassOut]
    confusions: list[ConfusionOut]
    """The most frequent mistakes, the worst first."""


_ID = "evl_06a1x7k2m3n4p5q6r7s8t9v0w"
EVALUATION: dict[str, Any] = {
    "id": _ID,
    "state": "succeeded",
    "is_terminal": True,
    "error": None,
    **OF_TEACHER,
    "job": None,
    "result": RESULT,
    "created_at": "2026-03-01T12:00:00Z",
    "finished_at": "2026-03-01T12:00:01.5Z",
    "links": {"self": f"/evaluations/{_ID}"},
}


class EvaluationOut(Resource, json_schema_extra=example(EVALUATION)):
    """An evaluation: pending, then succeeded or failed."""

    id: str
    state: Literal["pending", "succeeded", "failed"]
    is_terminal: bool
    error: dict[str, Any] | None
    """The problem, when failed."""
    teacher: str | None
    """What was evaluated may be gone by now, as may the dataset."""
    job: str | None
    dataset: str
    split: str
    result: ResultOut | None
    """Null until it succeeded."""
    created_at: datetime
    finished_at: datetime | None
    links: dict[str, str]

    @classmethod
    def of(cls, row: Evaluation) -> Self:
        return cls(
            id=row.id,
            state=row.state,
            is_terminal=row.state != "pending",
            error=row.error,
            teacher=row.teacher_id,
            job=row.job_id,
            dataset=row.dataset_id,
            split=row.split,
            result=None if row.result is None else ResultOut.model_validate(row.result),
            created_at=row.created_at,
            finished_at=row.finished_at,
            links={"self": f"/evaluations/{row.id}"},
        )
