"""Builders of specs and files, honest and hostile."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.spec.dataset import DatasetSpec
from app.spec.problems import Refused

PROJECT = Path(__file__).resolve().parents[2]


def spec_of(**fields: Any) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {"name": "a dataset", "source": {"kind": "file", "file": "file_1"}, **fields}
    )


@pytest.fixture
def spec() -> Callable[..., DatasetSpec]:
    """Makes the spec of an uploaded file; keywords override its fields."""
    return spec_of


@pytest.fixture
def refusal() -> Callable[..., Refused]:
    """Calls a function that must be refused, and gives the refusal."""

    def called(function: Callable[..., Any], *args: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            function(*args)
        problem = caught.value.as_problem()
        assert 400 <= problem["status"] < 500
        assert "Traceback" not in problem["detail"]
        return caught.value

    return called


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(os.environ.get("STILLHOUSE_DATA", PROJECT / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; set STILLHOUSE_DATA")
    return folder
