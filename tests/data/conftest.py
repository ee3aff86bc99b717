"""Builders of specs and files, honest and hostile."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.spec.dataset import DatasetSpec
from app.spec.problems import Refused
from workers.data.raw import Limits, Raw
from workers.data.readers import read

Table = dict[str, list[Any]]
Spec = Callable[..., DatasetSpec]

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


def write_parquet(path: Path, table: Table) -> None:
    pq.write_table(pa.table(table), path)


def write_jsonl(path: Path, table: Table) -> None:
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_csv(path: Path, table: Table) -> None:
    rows = [list(table), *zip(*table.values(), strict=True)]
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))


WRITERS = {"parquet": write_parquet, "jsonl": write_jsonl, "csv": write_csv}


@pytest.fixture
def write() -> Callable[[str, Path, Table], None]:
    """Writes columns in a format."""
    return lambda kind, path, columns: WRITERS[kind](path, columns)


@pytest.fixture
def table(tmp_path: Path, spec: Spec) -> Callable[..., Raw]:
    """Writes columns in a format and reads them."""

    def written(kind: str, columns: Table, limits: Limits | None = None, **fields: Any) -> Raw:
        WRITERS[kind](tmp_path / "a", columns)
        return read(tmp_path / "a", spec(**fields), limits)

    return written


@pytest.fixture
def text(tmp_path: Path, spec: Spec) -> Callable[..., Raw]:
    """Reads bytes in a format."""

    def written(kind: str, content: bytes, limits: Limits | None = None, **fields: Any) -> Raw:
        (tmp_path / "a").write_bytes(content)
        source = {"kind": "file", "file": "file_1", "format": kind}
        return read(tmp_path / "a", spec(source=source, **fields), limits)

    return written
