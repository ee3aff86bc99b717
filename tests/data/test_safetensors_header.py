"""Rows 3 to 9 of the hostile inputs, as real files, and the pre-parser against the real loader."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from app.spec.problems import Refused
from workers.data import safetensors_header
from workers.data.safetensors_header import check_finite, read_header

Refusal = Callable[..., Refused]


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def raw(header: bytes | dict[str, Any], data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


HUGE = 2**62
ONE = json.dumps(entry())
INVALID = {
    "empty file": b"",
    "header length 0": bytes(8),
    "header length 2^63": struct.pack("<Q", 2**63) + b"{}",
    "header beyond the file": struct.pack("<Q", 1000) + b"{}",
    "not an object": raw(b"[1]", b""),
    "not JSON": raw(b'{"a":', b""),
    "not UTF-8": raw(b'{"\xff":1}', b""),
    "NaN": raw(b'{"a":NaN}'),
    "deep": raw(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "long number": raw(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b"]}}"),
    "overlapping": raw({"a": entry(), "b": entry()}),
    "holed": raw({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)),
    "truncated": raw({"a": entry()}, bytes(7)),
    "trailing bytes": raw({"a": entry()}, bytes(9)),
    "offsets backwards": raw({"a": entry(offsets=(8, 0))}),
    "offsets negative": raw({"a": entry(offsets=(-8, 0))}),
    "three offsets": raw({"a": entry(offsets=(0, 8, 8))}),
    "product overflows": raw({"a": entry(shape=(2**32, 2**32))}),
    "product wraps to fit": raw({"a": entry("U8", (2**61 + 1, 8), (0, 8))}),
    "zero times huge": raw({"a": entry(shape=(0, HUGE), offsets=(0, 0))}, b""),
    "negative shape": raw({"a": entry(shape=(-2,))}),
    "true in shape": raw({"a": entry(shape=(True, 2))}),
    "float in shape": raw({"a": entry(shape=(2.0,))}),
    "rank 17": raw({"a": entry(shape=(1,) * 16 + (2,))}),
    "duplicate name": raw(f'{{"a":{ONE},"a":{ONE}}}'.encode()),
    "duplicate field": raw(b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "../ name": raw({"../a": entry()}),
    "absolute name": raw({"/etc/a": entry()}),
    "backslash name": raw({"a\\b": entry()}),
    "NUL name": raw({"a\0": entry()}),
    "newline name": raw({"a\nb": entry()}),
    "surrogate name": raw(f'{{"a\\ud800":{ONE}}}'.encode()),
    "empty name": raw({"": entry()}),
    "long name": raw({"a" * 1000: entry()}),
    "unknown dtype": raw({"a": entry("F9")}),
    "dtype no weight has": raw({"a": entry("I16", (4,))}),
    "dtype is a list": raw({"a": entry(["F32"])}),  # type: ignore[arg-type]
    "unknown field": raw({"a": {**entry(), "code": "import os"}}),
    "missing field": raw({"a": {"dtype": "F32", "shape": [2]}}),
    "metadata is no object": raw({"__metadata__": [], "a": entry()}),
    "metadata is no text": raw({"__metadata__": {"epoch": 1}, "a": entry()}),
    "metadata surrogate": raw(f'{{"__metadata__":{{"a":"\\udc00"}},"a":{ONE}}}'.encode()),
    "UTF-16": struct.pack("<Q", 12) + '{"a":1'.encode("utf-16-le"),
}


@pytest.mark.parametrize("content", INVALID.values(), ids=INVALID.keys())
def test_a_malformed_file_is_422(content: bytes, tmp_path: Path, refusal: Refusal) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert refusal(read_header, path).status == 422


def test_a_header_over_8_mib_is_413(tmp_path: Path, refusal: Refusal) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw(b'{"__metadata__":{"a":"' + b"x" * 8 * 2**20 + b'"}}', b""))
    assert refusal(read_header, path).status == 413


def test_over_20000_tensors_are_413(tmp_path: Path, refusal: Refusal) -> None:
    path = tmp_path / "a.safetensors"
    empty = entry(shape=(0,), offsets=(0, 0))
    path.write_bytes(raw({f"t{place}": empty for place in range(20_001)}, b""))
    assert refusal(read_header, path).status == 413
    path.write_bytes(raw({f"t{place}": empty for place in range(20_000)}, b""))
    assert len(read_header(path).tensors) == 20_000


@pytest.mark.parametrize("comment", [b"", b"c" * 65_535])
def test_a_zip_behind_the_header_is_422(comment: bytes, tmp_path: Path, refusal: Refusal) -> None:
    archive = tmp_path / "inner.zip"
    with zipfile.ZipFile(archive, "w") as inner:
        inner.writestr("archive/data.pkl", b"cposix\nsystem\n")
        inner.comment = comment
    data = archive.read_bytes()
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw({"a": entry("U8", (len(data),), (0, len(data)))}, data))
    assert zipfile.is_zipfile(path)
    assert refusal(read_header, path).code == "zip_polyglot"
    assert refusal(read_header, archive).code == "zip_polyglot"


def test_weights_that_spell_the_signature_of_a_zip_pass(tmp_path: Path) -> None:
    data = bytes(range(1, 50)) + b"PK\x05\x06" + bytes(range(100, 151))
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw({"a": entry("U8", (len(data),), (0, len(data)))}, data))
    read_header(path)


def test_a_valid_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    tensors = {
        "layers.0.weight": torch.randn(3, 4),
        "layers.0.half": torch.randn(5).to(torch.float16),
        "layers.0.brain": torch.randn(5).to(torch.bfloat16),
        "norm.num_batches_tracked": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
    }
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(tensors, {"format": "pt"}))
    header = read_header(path)
    assert header.metadata == {"format": "pt"}
    assert {name: info.shape for name, info in header.tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in tensors.items()
    }
    check_finite(path, header)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_weights_are_422_and_named(
    dtype: torch.dtype,
    value: float,
    tmp_path: Path,
    refusal: Refusal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(safetensors_header, "CHECK_BLOCK_BYTES", 64)
    weight = torch.full((1001,), -65504.0).to(dtype)
    path = tmp_path / "a.safetensors"
    path.write_bytes(save({"fine": torch.ones(3), "layers.1.weight": weight}))
    check_finite(path, read_header(path))
    weight[1000] = value
    path.write_bytes(save({"fine": torch.ones(3), "layers.1.weight": weight}))
    refused = refusal(check_finite, path, read_header(path))
    assert (refused.status, refused.code) == (422, "non_finite_weights")
    assert "layers.1.weight" in refused.detail


def test_a_boolean_that_is_neither_is_422(tmp_path: Path, refusal: Refusal) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw({"a": entry("BOOL", (2,), (0, 2))}, b"\x01\x02"))
    assert refusal(check_finite, path, read_header(path)).code == "invalid_bool"


VALID = save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([True]), "c": torch.ones(2)})


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid file with a few bytes changed, cut out or put in."""
    content = bytearray(VALID)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(content)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.one_of(mutated(), st.binary(max_size=300).map(raw), st.binary(max_size=64)))
def test_what_is_accepted_the_loader_reads_alike(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any.safetensors"
    path.write_bytes(content)
    try:
        header = read_header(path)
    except Refused:
        return
    with safe_open(path, framework="np") as file:
        names = set(file.keys())
        assert names == set(header.tensors)
        for name in names:
            info = header.tensors[name]
            assert tuple(file.get_slice(name).get_shape()) == info.shape
            if info.dtype != "BF16":
                start = header.data_start
                assert (
                    np.ascontiguousarray(file.get_tensor(name)).tobytes()
                    == content[start + info.begin : start + info.end]
                )


def test_a_file_that_ends_early_looks_cut_off(tmp_path: Path, refusal: Refusal) -> None:
    whole = save({"a": torch.zeros(100), "b": torch.zeros(50)})
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole[:-60])
    detail = refusal(read_header, path).detail
    assert "looks cut off" in detail
    assert f"{len(whole):,} bytes, and {len(whole) - 60:,} are there" in detail
