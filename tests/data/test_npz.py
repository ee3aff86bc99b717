"""npz as clients send it, and rows 11 to 13 of the hostile inputs."""

import io
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.spec.dataset import DatasetSpec
from app.spec.problems import Refused
from workers.data.raw import Limits, Raw
from workers.data.readers import read

Spec = Callable[..., DatasetSpec]
Refusal = Callable[..., Refused]

X = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
Y = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def npz(tmp_path: Path, spec: Spec) -> Callable[..., Raw]:
    """Saves arrays to an npz and reads it."""

    def saved(limits: Limits | None = None, fields: Any = None, **arrays: Any) -> Raw:
        np.savez_compressed(tmp_path / "a.npz", **arrays)
        return read(tmp_path / "a.npz", spec(**(fields or {})), limits)

    return saved


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode("latin-1")
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def good(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_the_named_splits(npz: Callable[..., Raw]) -> None:
    raw = npz(
        x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2], x_validation=X[2:], y_validation=Y[2:]
    )
    assert {name: len(split.x) for name, split in raw.splits.items()} == {
        "train": 6,
        "validation": 4,
        "test": 2,
    }
    assert raw.classes == 3
    np.testing.assert_array_equal(raw.splits["train"].x, X)
    assert raw.splits["train"].y is not None
    np.testing.assert_array_equal(raw.splits["train"].y, Y)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (X.astype(np.int64), "uint8"),
        (X.astype(">i4") + 300, "uint16"),
        (X > 5, "uint8"),
        (X.astype(np.float64) / 255, "float32"),
        (X.reshape(6, 16), "float32"),
        (X.reshape(6, 4, 2, 2), "uint8"),
        (np.asfortranarray(X), "uint8"),
    ],
)
def test_dtypes_are_narrowed(npz: Callable[..., Raw], stored: np.ndarray, expected: str) -> None:
    x = npz(x=stored, y=Y).splits["train"].x
    assert x.dtype == expected
    np.testing.assert_allclose(x, stored * np.uint8(255) if stored.dtype == bool else stored)


def test_splits_share_the_wider_dtype(npz: Callable[..., Raw]) -> None:
    raw = npz(x_train=X, y_train=Y, x_test=X.astype(np.int32) + 300, y_test=Y)
    assert {split.x.dtype.name for split in raw.splits.values()} == {"uint16"}


def test_text_labels_become_sorted_classes(npz: Callable[..., Raw]) -> None:
    raw = npz(x=X, y=np.array(["dog", "cat", "emu"] * 2))
    assert raw.class_names == ("cat", "dog", "emu")
    assert raw.splits["train"].y is not None
    assert raw.splits["train"].y.tolist() == [1, 0, 2] * 2


def test_no_label_leaves_labels_unread(npz: Callable[..., Raw]) -> None:
    raw = npz(fields={"label": None}, x=X)
    assert raw.splits["train"].y is None
    assert raw.classes is None


def test_teacher_outputs(npz: Callable[..., Raw]) -> None:
    raw = npz(x=X, y=Y, teacher_logits=np.zeros((6, 5)))
    assert (raw.teacher_outputs, raw.classes) == ("logits", 5)
    raw = npz(x_train=X, y_train=Y, teacher_probabilities_train=np.full((6, 4), 0.25))
    assert (raw.teacher_outputs, raw.classes) == ("probabilities", 4)


OUT = np.zeros((6, 3))
BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "no arrays": ("missing_array", {"data": X}),
    "no labels": ("missing_array", {"x": X}),
    "only test": ("no_train_rows", {"x_test": X, "y_test": Y}),
    "empty": ("no_rows", {"x": X[:0], "y": Y[:0]}),
    "0-d": ("invalid_features", {"x": np.array(3), "y": Y}),
    "1-d": ("invalid_features", {"x": Y, "y": Y}),
    "5-d": ("invalid_features", {"x": X.reshape(6, 2, 2, 2, 2), "y": Y}),
    "no width": ("invalid_features", {"x": np.zeros((6, 0)), "y": Y}),
    "text": ("invalid_features", {"x": np.array([["a"]] * 6), "y": Y}),
    "lengths": ("length_mismatch", {"x": X, "y": Y[:5]}),
    "shapes": ("ragged_features", {"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}),
    "channels first": ("channels_first", {"x": np.zeros((6, 3, 32, 32)), "y": Y}),
    "NaN": ("non_finite_features", {"x": np.full((6, 2), np.nan), "y": Y}),
    "beyond float32": ("non_finite_features", {"x": np.full((6, 2), 1e300), "y": Y}),
    "signalling NaN": (
        "non_finite_features",
        {"x": np.frombuffer(bytes.fromhex("010000000000f07f") * 12).reshape(6, 2), "y": Y},
    ),
    "negative pixels": ("pixel_out_of_range", {"x": X.astype(int) - 9, "y": Y}),
    "huge pixels": ("pixel_out_of_range", {"x": X.astype(int) + 70_000, "y": Y}),
    "negative label": ("label_out_of_range", {"x": X, "y": Y - 1}),
    "huge label": ("label_out_of_range", {"x": X, "y": Y + 100_000}),
    "unsigned label": ("label_out_of_range", {"x": X, "y": np.full(6, 2**64 - 1, np.uint64)}),
    "half a label": ("invalid_label", {"x": X, "y": Y + 0.5}),
    "NaN label": ("invalid_label", {"x": X, "y": Y * np.nan}),
    "one-hot label": ("invalid_label", {"x": X, "y": np.eye(6)}),
    "NUL in a label": ("invalid_label", {"x": X, "y": np.array(["a\0b", "c"] * 3)}),
    "complex": ("unsupported_dtype", {"x": X * 1j, "y": Y}),
    "structured": ("unsupported_dtype", {"x": np.zeros(6, "i4,i4"), "y": Y}),
    "object": ("object_dtype", {"x": np.array([{}] * 6, object), "y": Y}),
    "object labels": ("object_dtype", {"x": X, "y": np.array(["a"] * 6, object)}),
    "label beyond the teacher": ("label_out_of_range", {"x": X, "y": Y + 1, "teacher_logits": OUT}),
    "teacher rows": ("length_mismatch", {"x": X, "y": Y, "teacher_logits": OUT[1:]}),
    "teacher 1-d": ("invalid_teacher_outputs", {"x": X, "y": Y, "teacher_logits": OUT[:, 0]}),
    "teacher NaN": ("invalid_teacher_outputs", {"x": X, "y": Y, "teacher_logits": OUT * np.nan}),
    "no probabilities": (
        "invalid_teacher_outputs",
        {"x": X, "y": Y, "teacher_probabilities": OUT},
    ),
    "outputs of no split": (
        "missing_array",
        {"x_train": X, "y_train": Y, "teacher_logits": OUT},
    ),
    "both outputs": (
        "mixed_teacher_outputs",
        {"x": X, "y": Y, "teacher_logits": OUT, "teacher_probabilities": OUT},
    ),
}


@pytest.mark.parametrize(("code", "arrays"), BAD.values(), ids=BAD.keys())
def test_bad_content_is_422(
    npz: Callable[..., Raw], refusal: Refusal, code: str, arrays: dict[str, Any]
) -> None:
    refused = refusal(lambda: npz(**arrays))
    assert (refused.status, refused.code) == (422, code)


def test_class_names_bound_the_labels(npz: Callable[..., Raw], refusal: Refusal) -> None:
    assert npz(fields={"class_names": ["a", "b", "c", "d"]}, x=X, y=Y).classes == 4
    refused = refusal(lambda: npz(fields={"class_names": ["a", "b"]}, x=X, y=Y))
    assert refused.code == "label_out_of_range"


def test_a_missing_array_names_those_there(npz: Callable[..., Raw], refusal: Refusal) -> None:
    assert "images" in (refusal(lambda: npz(images=X)).hint or "")


def test_a_bomb_is_413(tmp_path: Path, spec: Spec, refusal: Refusal) -> None:
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (9, %d), }"
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file,
        file.open("x.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy(header % (300 * 2**20 // 9)))
        for _ in range(300):
            member.write(bytes(2**20))
    assert (tmp_path / "a.npz").stat().st_size < 2**19
    refused = refusal(read, tmp_path / "a.npz", spec())
    assert (refused.status, refused.code) == (413, "decompression_bomb")


def test_the_declared_sizes_are_summed(npz: Callable[..., Raw], refusal: Refusal) -> None:
    assert refusal(lambda: npz(Limits(max_bytes=200), x=X, y=Y)).status == 413
    assert refusal(lambda: npz(Limits(max_rows=5), x=X, y=Y)).code == "too_many_rows"


def test_a_bomb_that_lies_about_its_size_is_refused(
    tmp_path: Path, spec: Spec, refusal: Refusal
) -> None:
    content = good(np.zeros((1000, 1000), np.uint8))
    path = archive(tmp_path / "a.npz", {"x.npy": content})
    small = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 5), }", bytes(10))
    lie = path.read_bytes().replace(struct.pack("<I", len(content)), struct.pack("<I", len(small)))
    path.write_bytes(lie)
    assert refusal(read, path, spec(label=None)).status == 422


@pytest.mark.parametrize("extent", [10**12, 10**18, 10**30, "9" * 6000])
def test_a_header_of_10_to_the_12_elements_is_413_before_allocating(
    extent: Any, tmp_path: Path, spec: Spec, refusal: Refusal
) -> None:
    header = npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({extent}, 2), }}")
    path = archive(tmp_path / "a.npz", {"x.npy": header, "y.npy": good(Y)})
    tracemalloc.start()
    assert refusal(read, path, spec()).status == 413
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


HEADERS = {
    "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }"),
    "no such dtype": npy("{'descr': '<i3', 'fortran_order': False, 'shape': (1, 2), }", bytes(6)),
    "no width of text": npy("{'descr': '<U0', 'fortran_order': False, 'shape': (1, 2), }"),
    "code": npy("__import__('os').system('true')"),
    "deep": npy("(" * 60_000),
    "no magic": b"\x93NUMPX" + bytes(100),
    "version 9": npy("{}", version=9),
    "short": b"\x93NUM",
    "long header": npy("{'descr': '<f4'" + " " * 70_000, version=2),
    "fewer bytes": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (6, 2), }", bytes(8)),
    "twice": npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }"),
    "many dimensions": npy(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (%s), }" % ("1," * 99), b"\0"
    ),
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_bad_npy_is_422(header: bytes, tmp_path: Path, spec: Spec, refusal: Refusal) -> None:
    path = archive(tmp_path / "a.npz", {"x.npy": header})
    assert refusal(read, path, spec(label=None)).status == 422


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "a\\x.npy", "x\n.npy"])
def test_an_unsafe_member_is_422(name: str, tmp_path: Path, spec: Spec, refusal: Refusal) -> None:
    path = archive(tmp_path / "a.npz", {"x.npy": good(X), name: good(X)})
    assert refusal(read, path, spec(label=None)).code == "unsafe_member_name"


def test_duplicate_encrypted_and_oddly_packed_members_are_422(
    tmp_path: Path, spec: Spec, refusal: Refusal
) -> None:
    path = tmp_path / "a.npz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("x.npy", good(X))
            file.writestr("x.npy", good(X))
    assert refusal(read, path, spec(label=None)).code == "duplicate_member"
    archive(path, {"x.npy": good(X)})
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    path.write_bytes(content)
    assert refusal(read, path, spec(label=None)).code == "encrypted_archive"
    archive(path, {"x.npy": good(X)}, zipfile.ZIP_LZMA)
    assert refusal(read, path, spec(label=None)).code == "unusual_compression"


def test_many_members_are_413(tmp_path: Path, spec: Spec, refusal: Refusal) -> None:
    path = archive(tmp_path / "a.npz", {f"{place}.npy": b"" for place in range(1001)})
    assert refusal(read, path, spec()).code == "too_many_members"


def test_a_huge_directory_is_413(tmp_path: Path, spec: Spec, refusal: Refusal) -> None:
    path = tmp_path / "a.npz"
    size = 5 * 2**20
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, size, 0, 0)
    path.write_bytes(b"PK\x01\x02".ljust(size, b"\0") + end)
    assert refusal(read, path, spec()).code == "too_many_members"


VALID = io.BytesIO()
np.savez(VALID, x_train=X, y_train=Y)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(VALID.getvalue())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(content)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.one_of(damaged(), st.binary(max_size=200).map(lambda tail: b"PK\x03\x04" + tail)))
def test_damaged_bytes_are_read_or_refused(content: bytes, tmp_path: Path, spec: Spec) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with suppress(Refused):
        assert read(path, spec(source={"kind": "file", "file": "file_1", "format": "npz"})).splits


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=120), text=st.text(max_size=80))
def test_any_member_is_read_or_refused(
    content: bytes, text: str, tmp_path: Path, spec: Spec
) -> None:
    member = npy(text.encode("latin-1", "replace").decode("latin-1"), content)
    path = archive(tmp_path / "a.npz", {"x.npy": member, "y.npy": content})
    with suppress(Refused):
        read(path, spec())


def test_what_is_not_finite_is_named(npz: Callable[..., Raw], refusal: Refusal) -> None:
    x = np.zeros((6, 3))
    x[4, 1] = np.inf
    refused = refusal(lambda: npz(x_train=X, y_train=Y, x_test=x, y_test=Y))
    assert (
        refused.detail
        == "Row 4 (counted from 0), value 1 of 'x_test', of the test split holds inf."
    )
