"""Every reader, with files that nobody wrote by hand: valid ones come back as they went in, damaged
ones are read or refused, in bounded time and memory.

`STILLHOUSE_TEST_EXAMPLES=10000 pytest tests/data/test_reader_properties.py` looks for longer.
"""

import io
import json
import os
import resource
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from safetensors.numpy import load, save

from app.spec.dataset import DatasetSpec
from app.spec.networks import MLP
from app.spec.problems import Refused
from tests.data.conftest import spec_of
from workers.data.inspect import inspect_checkpoint
from workers.data.raw import Limits
from workers.data.readers import read
from workers.data.safetensors_header import check_finite, read_header

EXAMPLES = int(os.environ.get("STILLHOUSE_TEST_EXAMPLES", "40"))
SECONDS = 10.0
"""For one file of a few kilobytes; where cores are shared, most of it is waiting."""
MEMORY = 2**30
"""What all of it together may add to this process."""
LIMITS = Limits(
    max_bytes=16 * 2**20, max_rows=100_000, max_line_bytes=2**16, max_pixels=2**16, max_columns=200
)
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True, scope="module")
def bounded_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MEMORY


def spec_for(kind: str, **fields: Any) -> DatasetSpec:
    return spec_of(source={"kind": "file", "file": "file_1", "format": kind}, **fields)


FLOATS = st.floats(-1e6, 1e6, width=32).map(lambda x: x + 0.0)
TABLES = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.tuples(st.lists(FLOATS, min_size=width, max_size=width), st.integers(0, 9)),
        min_size=1,
        max_size=12,
    )
)


def as_csv(rows: list[Any], path: Path) -> None:
    names = [f"f{place}" for place in range(len(rows[0][0]))]
    lines = [[*names, "label"], *([*map(repr, x), str(y)] for x, y in rows)]
    path.write_text("".join(",".join(line) + "\n" for line in lines))


def as_jsonl(rows: list[Any], path: Path) -> None:
    path.write_text("".join(json.dumps({"image": x, "label": y}) + "\n" for x, y in rows))


def as_parquet(rows: list[Any], path: Path) -> None:
    table = pa.table({"image": [x for x, _ in rows], "label": [y for _, y in rows]})
    pq.write_table(table, path, row_group_size=5)


def as_npz(rows: list[Any], path: Path) -> None:
    x, y = np.array([x for x, _ in rows], np.float32), np.array([y for _, y in rows])
    with path.open("wb") as file:
        np.savez_compressed(file, x=x, y=y)


@pytest.mark.parametrize("write", [as_csv, as_jsonl, as_parquet, as_npz])
@many
@given(rows=TABLES)
def test_what_went_in_comes_out(write: Callable[..., None], rows: Any, tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(rows, path)
    kind = write.__name__.removeprefix("as_")
    split = read(path, spec_for(kind), LIMITS).splits["train"]
    np.testing.assert_array_equal(split.x, np.array([x for x, _ in rows], np.float32))
    assert split.y is not None
    assert split.y.tolist() == [y for _, y in rows]


@many
@given(
    tensors=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,8}(\.[a-z0-9]{1,4}){0,2}", fullmatch=True),
        hnp.arrays(
            st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.uint8]),
            hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
            elements={"allow_nan": False, "allow_infinity": False},
        ),
        max_size=6,
    )
)
def test_any_checkpoint_is_read_as_its_own_loader_does(tensors: Any, tmp_path: Path) -> None:
    content = save(tensors)
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    header = read_header(path)
    check_finite(path, header)
    assert {name: found.shape for name, found in header.tensors.items()} == {
        name: array.shape for name, array in load(content).items()
    }
    body = content[header.data_start :]
    for name, found in header.tensors.items():
        assert body[found.begin : found.end] == np.ascontiguousarray(tensors[name]).tobytes()


def npz_of(save: Callable[..., None], **arrays: Any) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def parquet_of(**options: Any) -> bytes:
    rows = 40
    encoded = io.BytesIO()
    Image.new("L", (4, 4), 9).save(encoded, "PNG")
    columns = {
        "lists": {"image": [[1.5, 2.5, float(place)] for place in range(rows)]},
        "fixed": {
            "image": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(rows * 4) % 250), 4)
        },
        "bytes": {"image": [{"bytes": encoded.getvalue(), "path": None}] * rows},
        "many": {name: np.arange(rows) / 3 for name in "abc"},
    }[options.pop("columns")]
    labels = {"label": [str(place % 3) for place in range(rows)], "split": ["train", "test"] * 20}
    sink = io.BytesIO()
    pq.write_table(pa.table({**columns, **labels}), sink, row_group_size=16, **options)
    return sink.getvalue()


X, Y = np.arange(48, dtype=np.uint8).reshape(6, 4, 2), np.arange(6) % 3
BASES: dict[str, list[bytes]] = {
    "npz": [
        npz_of(np.savez, x_train=X, y_train=Y, x_test=X, y_test=Y),
        npz_of(np.savez_compressed, x=X.astype(">f4"), y=Y.astype(str)),
        npz_of(np.savez, x=np.asfortranarray(X), y=Y, teacher_logits=np.zeros((6, 3))),
    ],
    "parquet": [
        parquet_of(columns="lists", compression="snappy"),
        parquet_of(columns="fixed", compression="zstd", data_page_version="2.0"),
        parquet_of(columns="bytes", compression="gzip", use_dictionary=False),
        parquet_of(columns="many", compression="none", column_encoding=None),
        parquet_of(
            columns="many",
            use_dictionary=False,
            column_encoding=dict.fromkeys("abc", "BYTE_STREAM_SPLIT"),
        ),
        parquet_of(columns="lists", write_statistics=False, write_page_checksum=True),
    ],
    "csv": [
        b"a,b,label,split\n" + b"1,2.5,0,train\n-3,4e2,1,test\n" * 8,
        b'a,"b,c",label\n' + b'1,"2",cat\n"3",4,"d""og"\n' * 8,
        b"\xef\xbb\xbfa,label\r\n" + b"1,0\r\n2,1\r\n" * 8,
    ],
    "jsonl": [
        b'{"image": [[1, 2], [3, 4]], "label": 0}\n' * 8,
        b'{"a": 1, "b": 2.5, "label": "x", "split": "test", "teacher_logits": [0, 1]}\n' * 8,
    ],
}
# What a length, a count or an offset becomes when somebody means harm.
EXTREMES = [
    struct.pack(kind, value)
    for kind, values in {
        "<B": (0, 1, 127, 128, 255),
        "<H": (0, 0xFFFF, 0x7FFF),
        "<I": (0, 1, 2**31 - 1, 2**31, 2**32 - 1),
        "<Q": (0, 2**31, 2**62, 2**63, 2**64 - 1),
    }.items()
    for value in values
] + [b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80" * 10 + b"\x01", b"\n", b'"', b",", b"\0"]


@st.composite
def damaged(draw: st.DrawFn, bases: list[bytes]) -> bytes:
    content = bytearray(draw(st.sampled_from(bases)))
    for _ in range(draw(st.integers(1, 5))):
        # Most of what directs a reader stands near the end (a footer, a directory).
        near = max(0, len(content) - draw(st.sampled_from([64, 600, 10**9])))
        at = draw(st.integers(near, len(content)))
        match draw(st.sampled_from(["put", "put", "flip", "cut", "repeat", "insert", "end"])):
            case "put":
                extreme = draw(st.sampled_from(EXTREMES))
                content[at : at + len(extreme)] = extreme
            case "flip" if at < len(content):
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[at : at + draw(st.integers(1, 40))]
            case "repeat":
                piece = content[at : at + draw(st.integers(1, 60))]
                content[at:at] = piece * draw(st.integers(1, 20))
            case "insert":
                content[at:at] = draw(st.binary(max_size=12))
            case "end":
                del content[at:]
    return bytes(content)


def read_or_refused(action: Callable[[], Any]) -> None:
    began = time.monotonic()
    try:
        action()
    except Refused as refused:
        problem = refused.as_problem()
        assert 400 <= problem["status"] < 500
        assert problem["code"]
        assert "Traceback" not in problem["detail"]
        assert len(problem["detail"]) < 5000
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("kind", BASES)
@many
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(kind: str, data: Any, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(data.draw(damaged(BASES[kind])))
    for fields in ({}, {"label": None}):
        read_or_refused(lambda: read(path, spec_for(kind, **fields), LIMITS).splits)  # noqa: B023


NETWORK = MLP(family="mlp", inputs=4, hidden=(3,), classes=2)
CHECKPOINT = save(
    {
        "layers.0.weight": np.ones((3, 4), np.float32),
        "layers.0.bias": np.ones(3, np.float32),
        "layers.1.weight": np.ones((2, 3), np.float16),
        "layers.1.bias": np.ones(2, np.float64),
    },
    metadata={"format": "pt"},
)


@many
@given(content=damaged([CHECKPOINT, save({}), save({"a": np.zeros((0, 3), np.uint8)})]))
def test_a_damaged_checkpoint_is_read_or_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)

    def whole() -> None:
        header = read_header(path)
        check_finite(path, header)
        load(content)  # what we accept, its own loader accepts

    read_or_refused(whole)
    read_or_refused(lambda: inspect_checkpoint(path, NETWORK, "a.safetensors"))
