"""Hostile checkpoints and data sets, as bytes."""

import io
import json
import pickle
import stat
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

GOOD = {
    "layers.0.weight": np.ones((3, 4), np.float32),
    "layers.0.bias": np.zeros(3, np.float32),
}


def good() -> bytes:
    return bytes(save(GOOD))


def pickled() -> bytes:
    return pickle.dumps({"weight": [1.0]})


def zipped(member: str = "archive/data.pkl", content: bytes = b"\x80\x02.") -> bytes:
    """As torch.save, torch.jit.save and torch.export.save write."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(member, content)
    return archive.getvalue()


def framed(header: bytes | dict, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def polyglot() -> bytes:
    archive = io.BytesIO(save(GOOD))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("data.pkl", b"\x80\x02.")
    return archive.getvalue()


def long_header() -> bytes:
    length = 8 * 2**20 + 1
    return framed(b"{" + b" " * (length - 2) + b"}")


def many_tensors() -> bytes:
    return framed({f"t{i}": tensor([0], 0, 0) for i in range(20_001)})


def overlapping() -> bytes:
    return framed({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12))


def holed() -> bytes:
    return framed({"a": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, bytes(12))


def truncated() -> bytes:
    return good()[:-4]


def one_tensor(name: str, shape: list[int], begin: int = 0, end: int = 4) -> bytes:
    return framed({name: tensor(shape, begin, end)}, bytes(end))


def twice() -> bytes:
    entry = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    return framed(b"{" + entry + b"," + entry + b"}", bytes(4))


def with_bias(*values: float) -> bytes:
    return bytes(save({**GOOD, "layers.0.bias": np.array(values, np.float32)}))


def wrong_shape() -> bytes:
    return bytes(save({**GOOD, "layers.0.weight": np.ones((3, 5), np.float32)}))


def npz(**arrays: np.ndarray) -> bytes:
    archive = io.BytesIO()
    np.savez(archive, **arrays)
    return archive.getvalue()


def npz_bomb() -> bytes:
    """600 MB of zeros in half a megabyte."""
    archive = io.BytesIO()
    with (
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("x_train.npy", "w") as member,
    ):
        member.write(_npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (600000000,), }"))
        for _ in range(600):
            member.write(bytes(1_000_000))
    return archive.getvalue()


def objects() -> bytes:
    return npz(x_train=np.array([{}] * 9), y_train=np.zeros(9))


def huge_header() -> bytes:
    archive = io.BytesIO()
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("x_train", "y_train"):
            file.writestr(f"{name}.npy", _npy(header))
    return archive.getvalue()


def _npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def parquet_bomb() -> bytes:
    """300 MB of zeros in a few kilobytes; the service under test reads 200 MB at most."""
    sink = io.BytesIO()
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(300_000_000, np.uint8)), 10**6)
    table = pa.table({"image": column, "label": np.zeros(300, np.int64)})
    pq.write_table(table, sink, compression="zstd", use_dictionary=False)
    return sink.getvalue()


def long_line() -> bytes:
    """20 MB; it is refused before its end is looked for, so a gigabyte would take no longer."""
    return b'{"label": 0, "image": [' + b"0," * 10_000_000 + b"0]}\n"


def zip_with(name: str, *, link_to: str | None = None) -> bytes:
    """An npz with a member of that name, or one that is a symbolic link."""
    array = io.BytesIO()
    np.save(array, np.zeros((4, 2), np.float32))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("y_train.npy", array.getvalue())
        info = zipfile.ZipInfo(name)
        if link_to is not None:
            info.create_system = 3
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, link_to.encode() if link_to is not None else array.getvalue())
    return archive.getvalue()
