"""Hostile teachers and data sets, sent for real: refused by the worker, and nothing else changes.

The numbers are the rows of the list of hostile inputs that the service is held to.
"""

import io
import json
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

NETWORK = {"family": "mlp", "inputs": 4, "hidden": [], "classes": 3}
GOOD = {
    "layers.0.weight": np.ones((3, 4), np.float32),
    "layers.0.bias": np.zeros(3, np.float32),
}


def framed(header: bytes | dict, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def polyglot() -> bytes:
    archive = io.BytesIO(save(GOOD))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("data.pkl", b"\x80\x02.")
    return archive.getvalue()


TEACHERS = {
    "3 also a ZIP": (polyglot(), 422),
    "4 header length 0": (framed(b"", length=0), 422),
    "4 header length 2^63": (framed(b"{}", length=2**63), 422),
    "4 header beyond the file": (framed(b"{}", length=5000), 422),
    "5 20,001 tensors": (framed({f"t{i}": tensor([0], 0, 0) for i in range(20_001)}), 413),
    "6 overlapping": (framed({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, b"\0" * 12), 422),
    "6 holed": (framed({"a": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, b"\0" * 12), 422),
    "6 truncated": (save(GOOD)[:-4], 422),
    "7 overflowing shape": (framed({"a": tensor([2**40, 2**40], 0, 4)}, b"\0" * 4), 422),
    "7 zero times huge": (framed({"a": tensor([0, 2**62], 0, 0)}), 422),
    "8 duplicate names": (
        framed(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            b"\0" * 4,
        ),
        422,
    ),
    "8 ../ in a name": (framed({"../a": tensor([1], 0, 4)}, b"\0" * 4), 422),
    "9 NaN weights": (save({**GOOD, "layers.0.bias": np.array([0, np.nan, 0], np.float32)}), 422),
    "9 infinite weights": (save({**GOOD, "layers.0.bias": np.full(3, np.inf, np.float32)}), 422),
    "10 another shape": (save({**GOOD, "layers.0.weight": np.ones((3, 5), np.float32)}), 422),
}


@pytest.mark.parametrize("name", TEACHERS)
def test_a_bad_checkpoint_is_rejected_with_its_problem(service, name) -> None:
    content, status = TEACHERS[name]
    answer = service.http.post(
        "/teachers",
        json={"name": name, "file": service.upload(content, "t.safetensors"), "network": NETWORK},
    )
    problem = answer.json()
    if answer.status_code == 202:  # what only the worker can know
        rejected = service.checked(f"/teachers/{problem['id']}")
        assert rejected["state"] == "rejected", rejected
        problem = rejected["error"]
    assert problem["status"] == status, problem
    assert problem["code"]
    assert "Traceback" not in json.dumps(problem)
    if name.startswith("10"):
        assert "layers.0.weight" in problem["detail"]
        assert "5" in problem["detail"]
    assert service.http.get("/readyz").is_success


def bomb() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (600000000,), }"
        head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        with file.open("x_train.npy", "w") as member:
            member.write(head)
            for _ in range(600):
                member.write(bytes(1_000_000))
    return archive.getvalue()


def npz(**arrays) -> bytes:
    archive = io.BytesIO()
    np.savez(archive, **arrays)
    return archive.getvalue()


def huge_header() -> bytes:
    archive = io.BytesIO()
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("x_train", "y_train"):
            file.writestr(
                f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
            )
    return archive.getvalue()


def parquet_bomb() -> bytes:
    """300 MB of zeros in a few kilobytes; the service under test reads 200 MB at most."""
    sink = io.BytesIO()
    row = pa.array(np.zeros(1_000_000, np.uint8))
    column = pa.FixedSizeListArray.from_arrays(pa.concat_arrays([row] * 300), 1_000_000)
    pq.write_table(
        pa.table({"image": column, "label": np.zeros(300, np.int64)}), sink, compression="zstd"
    )
    return sink.getvalue()


def long_line() -> bytes:
    return b'{"label": 0, "image": [' + b"0," * 10_000_000 + b"0]}\n"


DATASETS = {
    "11 npz bomb": (bomb, 413),
    "12 objects": (lambda: npz(x_train=np.array([{}] * 9), y_train=np.zeros(9)), 422),
    "13 10^12 elements": (huge_header, 413),
    "14 Parquet bomb": (parquet_bomb, 413),
    "15 a line of 20 MB": (long_line, 413),
}


@pytest.mark.parametrize("name", DATASETS)
def test_bad_data_is_rejected_with_its_problem(service, name) -> None:
    make, status = DATASETS[name]
    source = {"kind": "file", "file": service.upload(make(), "data.bin")}
    if name.startswith("15"):
        source["format"] = "jsonl"
    dataset = service.post("/datasets", {"name": name, "source": source})
    rejected = service.checked(f"/datasets/{dataset['id']}")
    assert rejected["state"] == "rejected", rejected
    assert rejected["error"]["status"] == status, rejected["error"]
    assert service.http.get("/readyz").is_success
