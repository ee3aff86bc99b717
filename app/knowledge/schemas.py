"""What a report tells, and where its pictures are."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import Field

from app.http.schema import Resource, example
from app.knowledge.advice import Advice
from app.knowledge.pictures import PICTURES, Exhibit
from app.spec.dataset import SplitName
from app.spec.knowledge import Calibration, Similarity, Softness

_TEACHER, _DATASET = "tch_06a1x7k2m3n4p5q6r7s8t9v0w", "dst_06a1x7k2m3n4p5q6r7s8t9v0w"
_HERE = f"/teachers/{_TEACHER}/report?dataset={_DATASET}"
_BINS = [{"low": 0.9333, "high": 1.0, "examples": 359, "confidence": 0.982, "accuracy": 0.964}]
REPORT: dict[str, Any] = {
    "state": "ready",
    "teacher": _TEACHER,
    "dataset": _DATASET,
    "split": "train",
    "examples": 1294,
    "rows": 1294,
    "target": "label",
    "class_names": ["cat", "dog", "car"],
    "softness": [
        {"temperature": 1, "entropy": 0.05, "entropy_share": 0.046, "off_target": 0.02},
        {"temperature": 4, "entropy": 0.7, "entropy_share": 0.637, "off_target": 0.28},
    ],
    "similarity": {
        "temperature": 4,
        "chance": 0.5,
        "matrix": [[0, 0.9, 0.1], [0.8, 0, 0.2], [0.55, 0.45, 0]],
        "confused": [{"classes": [0, 1], "similarity": 0.85}],
    },
    "calibration": {
        "split": "test",
        "examples": 359,
        "accuracy": 0.964,
        "plain": {"nll": 0.12, "ece": 0.018, "bins": _BINS},
        "temperature": 1.4,
        "fitted_on": "validation",
        "calibrated": {"nll": 0.11, "ece": 0.011, "bins": _BINS},
    },
    "advice": {
        "temperatures": [3.1, 6.4],
        "first": 4.5,
        "parameters": 24790,
        "share": 0.04,
        "assumed": False,
        "reasons": ["A student of 24,790 parameters has 4.0% of its teacher's. ..."],
        "caveat": "This is advice, not a finding: ...",
    },
    "pictures": [{"name": "softness", "url": f"/teachers/{_TEACHER}/report/softness.svg"}],
    "created_at": "2026-03-01T12:00:00Z",
    "links": {"self": _HERE, "html": f"{_HERE}&format=html"},
}


class AdviceOut(Resource):
    """A temperature to distil at: advice, with its reasons."""

    temperatures: tuple[float, float]
    """The lowest and the highest that are advised."""
    first: float
    """The one to begin with: between them."""
    parameters: int | None
    """Of the student, as given."""
    share: float | None
    """Of its teacher's parameters; null where the teacher's number is not known."""
    assumed: bool
    """Whether the share was not given by `parameters`."""
    reasons: list[str]
    caveat: str

    @classmethod
    def of(cls, advice: Advice) -> "AdviceOut":
        return cls(
            temperatures=(advice.lowest, advice.highest),
            first=advice.first,
            parameters=advice.parameters,
            share=advice.share,
            assumed=advice.assumed,
            reasons=list(advice.reasons),
            caveat=advice.caveat,
        )


class PictureOut(Resource):
    """A picture of the report, light or dark as its viewer is."""

    name: str
    url: str


class KnowledgeOut(Resource, json_schema_extra=example(REPORT)):
    """What a teacher knows beyond its answers. While it is being made all but the names is null."""

    state: Literal["computing", "ready"]
    teacher: str | None
    """Null for the outputs that a dataset brings."""
    dataset: str
    split: SplitName | None = None
    """Whose examples the soft targets are of: those that students learn from."""
    examples: int | None = None
    rows: int | None = None
    """Of the split: `examples` of them were drawn, spread evenly."""
    target: Literal["label", "answer"] | None = None
    """What counts as an example's target: its label, or without labels the teacher's answer."""
    class_names: list[str] | None = None
    """Their numbers, where they have no names."""
    softness: tuple[Softness, ...] | None = None
    """The soft targets at each temperature."""
    similarity: Similarity | None = None
    calibration: Calibration | None = None
    """Null without labels, too."""
    advice: AdviceOut | None = None
    pictures: list[PictureOut] = Field(default_factory=list)
    created_at: datetime
    links: dict[str, str]


def address(path: str, **query: Any) -> str:
    """A path with those of the parameters that are given."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def told(exhibit: Exhibit, path: str, query: dict[str, Any]) -> dict[str, Any]:
    """What a ready report says beside its names."""
    known = exhibit.knowledge
    drawn: Sequence[str] = [name for name, draw in PICTURES.items() if draw(exhibit) is not None]
    return {
        "split": known.split,
        "examples": known.examples,
        "rows": known.rows,
        "target": known.target,
        "class_names": list(exhibit.names),
        "softness": known.softness,
        "similarity": known.similarity,
        "calibration": known.calibration,
        "advice": AdviceOut.of(exhibit.advice),
        "pictures": [
            PictureOut(name=name, url=address(f"{path}/{name}.svg", **query)) for name in drawn
        ],
    }
