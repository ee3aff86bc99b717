"""Columns as clients send them in Parquet, CSV and JSONL, and row 15 of the hostile inputs."""

import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.spec.dataset import DatasetSpec
from app.spec.problems import Refused
from workers.data.raw import Limits, Raw
from workers.data.readers import read

Spec = Callable[..., DatasetSpec]
Refusal = Callable[..., Refused]
Table = dict[str, list[Any]]
Write = Callable[[str, Path, Table], None]


NUMBERS: Table = {
    "a": [1.5, 2.0, 3.25, 4.0],
    "label": [0, 1, 1, 0],
    "b": [1, 2, 3, 4],
    "split": ["train", "train", "test", "dev"],
}


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
@pytest.mark.parametrize("features", [None, "image", ["a", "b"]])
def test_numeric_columns(table: Callable[..., Raw], kind: str, features: Any) -> None:
    raw = table(kind, NUMBERS, features=features)
    assert {name: split.x.tolist() for name, split in raw.splits.items()} == {
        "train": [[1.5, 1], [2, 2]],
        "validation": [[4, 4]],
        "test": [[3.25, 3]],
    }
    assert raw.splits["train"].x.dtype == np.float32
    assert raw.splits["train"].y is not None
    assert raw.splits["train"].y.tolist() == [0, 1]
    assert (raw.classes, raw.class_names) == (2, None)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_a_label_that_is_left_unread_is_no_feature(table: Callable[..., Raw], kind: str) -> None:
    raw = table(kind, NUMBERS, features=None, label=None)
    assert raw.splits["train"].x.tolist() == [[1.5, 1], [2, 2]]
    assert raw.splits["train"].y is None


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_one_column_and_text_labels(table: Callable[..., Raw], kind: str) -> None:
    columns = {"a": [1, 2, 3], "label": ["dog", "cat", "dog"]}
    raw = table(kind, columns, features="a")
    assert raw.splits["train"].x.shape == (3, 1)
    assert raw.class_names == ("cat", "dog")
    assert raw.splits["train"].y is not None
    assert raw.splits["train"].y.tolist() == [1, 0, 1]
    named = table(kind, columns, class_names=["dog", "emu", "cat"])
    assert named.splits["train"].y is not None
    assert named.splits["train"].y.tolist() == [0, 2, 0]
    assert named.classes == 3


def test_text_that_spells_numbers_is_numbers(text: Callable[..., Raw]) -> None:
    raw = text("csv", b"a,label\n1,2\n1,10\n1,0.0\n")
    assert raw.splits["train"].y is not None
    assert raw.splits["train"].y.tolist() == [2, 10, 0]
    assert (raw.classes, raw.class_names) == (11, None)


def test_labels_that_only_later_are_words(text: Callable[..., Raw]) -> None:
    rows = b"1,2\n" * 1000 + b"1,x\n"
    raw = text("csv", b"a,label\n" + rows)
    assert raw.class_names == ("2", "x")


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_lists_nested_lists_and_teacher_outputs(table: Callable[..., Raw], kind: str) -> None:
    columns = {
        "image": [[[0, 255], [3, 4]], [[5, 6], [7, 8]]],
        "flat": [[0.5, 1], [2, 3]],
        "label": [1, 0],
        "teacher_probabilities": [[0.25, 0.75, 0], [1, 0, 0]],
    }
    raw = table(kind, columns)
    assert raw.splits["train"].x.dtype == np.uint8
    assert raw.splits["train"].x.tolist() == columns["image"]
    assert (raw.teacher_outputs, raw.classes) == ("probabilities", 3)
    assert table(kind, columns, features="flat").splits["train"].x.tolist() == columns["flat"]


def test_arrow_types(tmp_path: Path, spec: Spec) -> None:
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(range(6), pa.int16()), 3)
    columns = {
        "image": fixed,
        "large": pa.array([[1.0], [2.0]], pa.large_list(pa.float16())),
        "label": pa.array(["b", "a"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "a")
    raw = read(tmp_path / "a", spec())
    assert raw.splits["train"].x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert raw.class_names == ("a", "b")
    assert read(tmp_path / "a", spec(features="large")).splits["train"].x.tolist() == [[1], [2]]


def test_files_by_split_are_read_one_after_another(
    tmp_path: Path, spec: Spec, write: Write
) -> None:
    write("csv", tmp_path / "a", {"a": [1, 2], "label": [0, 1], "split": ["test", "test"]})
    write("jsonl", tmp_path / "b", {"a": [3], "label": [1]})
    files = {"train": [tmp_path / "a", tmp_path / "b"], "test": [tmp_path / "b"]}
    raw = read(files, spec(features="a"))  # type: ignore[arg-type]
    assert raw.splits["train"].x.tolist() == [[1], [2], [3]]
    assert raw.splits["test"].x.tolist() == [[3]]


L3: list[int] = [0, 1, 0]
BAD: dict[str, tuple[str, Table]] = {
    "no column": ("missing_column", {"text": ["a", "b", "c"], "label": L3}),
    "no label": ("missing_column", {"image": [1, 2, 3]}),
    "text": ("unsupported_column", {"image": ["a", "b", "c"], "label": L3}),
    "ragged": ("ragged_features", {"image": [[1], [1, 2], [1]], "label": L3}),
    "deep": ("unsupported_column", {"image": [[[[[1]]]]] * 3, "label": L3}),
    "empty lists": ("unsupported_column", {"image": [[], [], []], "label": L3}),
    "null": ("missing_value", {"image": [1, None, 2], "label": L3}),
    "null in a list": ("missing_value", {"image": [[1], [None], [2]], "label": L3}),
    "null list": ("missing_value", {"image": [[1], None, [2]], "label": L3}),
    "null label": ("missing_label", {"image": [1, 2, 3], "label": [0, None, 1]}),
    "null text label": ("missing_label", {"image": [1, 2, 3], "label": ["a", None, "b"]}),
    "empty label": ("invalid_label", {"image": [1, 2, 3], "label": ["a", " ", "b"]}),
    "long label": ("invalid_label", {"image": [1, 2, 3], "label": ["a", "b" * 300, "b"]}),
    "half label": ("invalid_label", {"image": [1, 2, 3], "label": [0.5, 1.0, 1.0]}),
    "negative label": ("label_out_of_range", {"image": [1, 2, 3], "label": [0, -1, 1]}),
    "minus in text": ("label_out_of_range", {"image": [1, 2, 3], "label": ["0", "-1", "1"]}),
    "split": ("unknown_split", {"image": [1, 2, 3], "label": L3, "split": ["train", "x", "test"]}),
    "null split": ("unknown_split", {"image": [1, 2, 3], "label": L3, "split": ["a", None, "b"]}),
    "no train": ("no_train_rows", {"image": [1, 2, 3], "label": L3, "split": ["test"] * 3}),
    "no probabilities": (
        "invalid_teacher_outputs",
        {"image": [1, 2, 3], "label": L3, "teacher_probabilities": [[0.5, 0.1]] * 3},
    ),
    "wide label": (
        "label_out_of_range",
        {"image": [1, 2, 3], "label": [0, 1, 2], "teacher_logits": [[0.5, 0.1]] * 3},
    ),
}


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize(("code", "columns"), BAD.values(), ids=BAD.keys())
def test_bad_columns_are_422(
    table: Callable[..., Raw], refusal: Refusal, kind: str, code: str, columns: Table
) -> None:
    refused = refusal(table, kind, columns)
    assert (refused.status, refused.code) == (422, code)


BAD_TEXT = {
    "a word in numbers": ("csv", b"a,label\n1,0\nx,1\n", "missing_column"),
    "a gap": ("csv", b"a,b,label\n1,1,0\n1,,1\n", "missing_value"),
    "infinity": ("csv", b"a,label\n1,0\ninf,1\n", "non_finite_features"),
    "short row": ("csv", b"a,label\n1,0\n1\n", "invalid_csv"),
    "no rows": ("csv", b"a,label\n", "missing_column"),
    "no header": ("csv", b"1,0\n2,1\n", "missing_column"),
    "same names": ("csv", b"a,a,label\n1,1,0\n", "duplicate_column"),
    "latin-1": ("csv", b"a,label\n1,\xff\n", "invalid_csv"),
    "unknown label": ("csv", b"a,label\n1,\n", "invalid_label"),
    "not JSON": ("jsonl", b'{"image": 1, "label": 0}\n{"image"\n', "invalid_jsonl"),
    "not an object": ("jsonl", b"[1]\n", "invalid_jsonl"),
    "NaN": ("jsonl", b'{"image": NaN, "label": 0}\n', "invalid_jsonl"),
    "1e999": ("jsonl", b'{"image": 1e999, "label": 0}\n', "non_finite_features"),
    "beyond 64 bits": ("jsonl", b'{"image": %s, "label": 0}\n' % (b"9" * 99), "unsupported_column"),
    "long number": ("jsonl", b'{"image": %s, "label": 0}\n' % (b"9" * 5000), "invalid_jsonl"),
    "deep": ("jsonl", b'{"image": %s' % (b"[" * 100_000), "invalid_jsonl"),
    "rather deep": (
        "jsonl",
        b'{"image": %s1%s, "label": 0}' % (b"[" * 900, b"]" * 900),
        "unsupported_column",
    ),
    "mixed types": (
        "jsonl",
        b'{"image": 1, "label": 0}\n{"image": "a", "label": 0}\n',
        "unsupported_column",
    ),
    "surrogate": ("jsonl", b'{"image": 1, "label": "\\ud800"}\n', "unsupported_column"),
    "nothing": ("jsonl", b"\n\n", "no_train_rows"),
    "not Parquet": ("parquet", b"PAR1 and then text", "invalid_parquet"),
    "no footer": ("parquet", b"PAR1" + bytes(20) + b"PAR1", "invalid_parquet"),
    "not a ZIP": ("npz", b"PK\x03\x04", "invalid_npz"),
}


@pytest.mark.parametrize(("kind", "content", "code"), BAD_TEXT.values(), ids=BAD_TEXT.keys())
def test_bad_text_is_422(
    text: Callable[..., Raw], refusal: Refusal, kind: str, content: bytes, code: str
) -> None:
    refused = refusal(text, kind, content)
    assert (refused.status, refused.code) == (422, code)


def test_a_word_among_numbers_is_found_by_row(text: Callable[..., Raw], refusal: Refusal) -> None:
    refused = refusal(lambda: text("csv", b"a,label\n1,0\nx,1\n", features="a"))
    assert refused.code == "invalid_csv"
    assert "Row #3" in refused.detail


def test_mixed_labels_are_422(tmp_path: Path, spec: Spec, write: Write, refusal: Refusal) -> None:
    write("parquet", tmp_path / "a", {"image": [1], "label": [0]})
    write("parquet", tmp_path / "b", {"image": [1], "label": ["cat"]})
    refused = refusal(read, {"train": [tmp_path / "a", tmp_path / "b"]}, spec())
    assert refused.code == "mixed_labels"
    refused = refusal(read, {"train": [tmp_path / "b"]}, spec(class_names=["dog"]))
    assert refused.code == "unknown_label"


def test_a_missing_column_names_those_there(table: Callable[..., Raw], refusal: Refusal) -> None:
    refused = refusal(lambda: table("parquet", NUMBERS, features="pixels"))
    assert "'pixels'" in refused.detail
    assert "'a', 'label', 'b', 'split'" in (refused.hint or "")


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_1_gb_line_is_413_in_flat_memory(
    kind: str, tmp_path: Path, spec: Spec, refusal: Refusal
) -> None:
    start = b'{"image": [' if kind == "jsonl" else b"a,label\n"
    with (tmp_path / "a").open("wb") as file:
        file.write(start + b"1" * 1000)
        file.truncate(10**9)
    source = {"kind": "file", "file": "file_1", "format": kind}
    tracemalloc.start()
    refused = refusal(read, tmp_path / "a", spec(source=source))
    assert (refused.status, refused.code) == (413, "line_too_long")
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.stop()


def test_lines_up_to_the_limit_are_read(text: Callable[..., Raw], refusal: Refusal) -> None:
    line = b'{"image": 1, "label": 0, "more": "%s"}\n' % (b"x" * 2000)
    limits = Limits(max_line_bytes=len(line))
    assert len(text("jsonl", line * 9, limits).splits["train"].x) == 9
    long = line.replace(b"xx", b"xxx", 1)
    assert refusal(text, "jsonl", line + long, limits).code == "line_too_long"
    row = b"1,%s,0\n" % (b"x" * 2000)
    limits = Limits(max_line_bytes=len(row))
    assert len(text("csv", b"a,b,label\n" + row * 2000, limits).splits["train"].x) == 2000
    long = row.replace(b"xx", b"xxxx", 1)
    csv = b"a,b,label\n" + row * 2000 + long + row
    assert refusal(text, "csv", csv, limits).code == "line_too_long"


FIELD = st.sampled_from(["", "1", "-2", "3.5", "x", "nan", "inf", '"', '"a,b"', "\r", "é", "\0"])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.one_of(
        st.binary(max_size=60),
        st.lists(st.lists(FIELD, max_size=4), max_size=5).map(
            lambda rows: "\n".join(["a,label,split", *map(",".join, rows)]).encode()
        ),
    )
)
def test_any_csv_is_read_or_refused(content: bytes, text: Callable[..., Raw]) -> None:
    with suppress(Refused):
        assert text("csv", content).splits


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["image", "label", "split", "teacher_logits"]), VALUE),
        max_size=4,
    )
)
def test_any_jsonl_is_read_or_refused(rows: list[dict[str, Any]], text: Callable[..., Raw]) -> None:
    with suppress(Refused):
        assert text("jsonl", "\n".join(map(json.dumps, rows)).encode()).splits


def test_what_is_not_finite_is_named_by_row_column_and_split(
    text: Callable[..., Raw], table: Callable[..., Raw], refusal: Refusal
) -> None:
    content = b"a,b,split,label\n1,2,train,0\n1,2,test,1\n1,2,train,1\n1,inf,test,0\n"
    refused = refusal(text, "csv", content)
    assert refused.detail == "Row 3 (counted from 0), column 'b', of the test split holds inf."
    assert "fill such values in" in (refused.hint or "")
    # Arrow takes it for a missing value in a CSV, and not in Parquet.
    missing = refusal(text, "csv", content.replace(b"inf", b"nan"))
    assert missing.detail.startswith("Row 3 (counted from 0), column 'b', has a missing value")
    lists: Table = {"x": [[1.0, 2.0], [1.0, np.nan]], "label": [0, 1]}
    nan = refusal(lambda: table("parquet", lists, features="x"))
    assert nan.detail == "Row 1 (counted from 0), value 1 of 'x', of the train split holds nan."
    lists["x"][1] = [None, 1.0]
    null = refusal(lambda: table("parquet", lists, features="x"))
    assert null.detail.startswith("Row 1 (counted from 0), column 'x', has a missing value")
    no_label = refusal(lambda: table("parquet", {"a": [1.0, 2.0], "label": [0, None]}))
    assert no_label.detail == "Row 1 (counted from 0) has no label in column 'label'."


def test_of_several_files_the_wrong_one_is_named(
    tmp_path: Path, spec: Spec, refusal: Refusal
) -> None:
    paths = [tmp_path / name for name in ("a.csv", "b.csv")]
    for path, value in zip(paths, ("1", "inf"), strict=True):
        path.write_text(f"a,b,label\n1,2,0\n{value},2,1\n")
    source = {"kind": "file", "files": {"train": ["file_1", "file_2"]}}
    refused = refusal(read, {"train": paths}, spec(source=source))
    assert refused.detail.startswith("Row 1 (counted from 0), column 'a', of the train split")
    assert refused.detail.endswith("(in file 2 of train).")
