"""What `POST /datasets` takes, and what it refuses before any byte is read."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.spec.dataset import DatasetSpec

FILE = {"kind": "file", "file": "file_01"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"source": {"kind": "builtin", "name": "digits"}},
        {"source": {"kind": "file", "files": {"train": ["file_1", "file_2"], "test": ["file_3"]}}},
        {"source": {**FILE, "format": "csv"}, "features": ["a", "b"], "label": None},
        {"features": None, "splits": {"validation": 0, "test": 0.5}, "split_seed": 7},
        {"normalize": "none", "class_names": ["cat", "dog"]},
        {"normalize": {"mean": [0.5], "std": [0.25]}},
    ],
)
def test_accepted(fields: dict[str, Any]) -> None:
    spec = DatasetSpec.model_validate({"name": "a", "source": FILE, **fields})
    assert DatasetSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    "fields",
    [
        {"source": {"kind": "file"}},
        {"source": {**FILE, "files": {"train": ["file_1"]}}},
        {"source": {"kind": "file", "files": {"train": []}}},
        {"source": {"kind": "file", "file": "../etc/passwd"}},
        {"source": {"kind": "file", "file": "file_1\n"}},
        {"source": {"kind": "builtin", "name": "../digits"}},
        {"source": {"name": "digits"}},
        {"source": {**FILE, "format": "pickle"}},
        {"name": ""},
        {"name": "a\0b"},
        {"name": "\ud800"},
        {"features": []},
        {"features": ["a", "a"]},
        {"splits": {"validation": 0.6}},
        {"splits": {"validation": float("nan")}},
        {"normalize": {"mean": [0.5], "std": [0]}},
        {"normalize": {"mean": [0.5, 0.5], "std": [1]}},
        {"split_seed": -1},
        {"class_names": ["a", "a"]},
        {"rows": 3},
    ],
)
def test_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DatasetSpec.model_validate({"name": "a", "source": FILE, **fields})
