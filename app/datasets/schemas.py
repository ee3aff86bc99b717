"""What a dataset tells of itself. What it is asked to be is `app.spec.dataset.DatasetSpec`."""

from datetime import datetime
from typing import Any, Literal

from app.http.schema import Resource, example
from app.tables import Dataset

DIGITS: dict[str, Any] = {"name": "digits", "source": {"kind": "builtin", "name": "digits"}}
FROM_FILE: dict[str, Any] = {
    "name": "my images",
    "source": {"kind": "file", "file": "file_06a1x7k2m3n4p5q6r7s8t9v0w"},
    "label": "label",
    "normalize": "auto",
}
FROM_URI: dict[str, Any] = {
    "name": "shared images",
    "source": {"kind": "uri", "uri": "https://data.example.org/sets/images.parquet"},
}


DATASET: dict[str, Any] = {
    "id": "dst_06a1x7k2m3n4p5q6r7s8t9v0w",
    "name": "digits",
    "state": "ready",
    "error": None,
    "spec": DIGITS,
    "rows": {"train": 1294, "validation": 144, "test": 359},
    "classes": 10,
    "class_names": None,
    "feature_shape": [8, 8],
    "feature_dtype": "float32",
    "class_balance": {"test": [36, 36, 35, 37, 36, 37, 36, 36, 34, 36]},
    "preprocess": {"scale": 0.0625, "mean": [0.305], "std": [0.376]},
    "labelled": True,
    "cut": ["validation", "test"],
    "teacher_outputs": None,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "license": "CC BY 4.0 (Alpaydin and Kaynak 1998, doi:10.24432/C50P49)",
    "source_sha256": None,
    "bytes": 460032,
    "preview": [],
    "created_at": "2026-03-01T12:00:00Z",
    "links": {"self": "/datasets/dst_06a1x7k2m3n4p5q6r7s8t9v0w"},
}


class DatasetOut(Resource, json_schema_extra=example(DATASET)):
    """A dataset: checking, then ready or rejected. What only the check can tell is null before."""

    id: str
    name: str
    state: Literal["checking", "ready", "rejected"]
    error: dict[str, Any] | None
    """The problem, when rejected."""
    spec: dict[str, Any]
    """As asked for, with every default."""
    rows: dict[str, int] | None = None
    """By split."""
    classes: int | None = None
    class_names: list[str] | None = None
    feature_shape: list[int] | None = None
    """(D,), (H, W) or (H, W, C)."""
    feature_dtype: str | None = None
    class_balance: dict[str, list[int]] | None = None
    """Rows of each class, by split."""
    preprocess: dict[str, Any] | None = None
    """Stored value to network input: (x * scale - mean) / std."""
    labelled: bool | None = None
    cut: list[str] | None = None
    """Splits that the source did not bring, cut by `split_seed`."""
    teacher_outputs: str | None = None
    """Whether it brings logits or probabilities of a teacher of its own."""
    sha256: str | None = None
    """Of the prepared examples."""
    license: str | None = None
    """Under which the data may be used, where that is known."""
    source_sha256: str | None = None
    """Of what a uri gave, before it was prepared."""
    bytes: int | None = None
    preview: list[dict[str, Any]] | None = None
    created_at: datetime
    links: dict[str, str]

    @classmethod
    def of(cls, row: Dataset) -> "DatasetOut":
        return cls(
            **(row.facts or {}),
            id=row.id,
            name=row.name,
            state=row.state,
            error=row.error,
            spec=row.spec,
            created_at=row.created_at,
            links={"self": f"/datasets/{row.id}"},
        )
