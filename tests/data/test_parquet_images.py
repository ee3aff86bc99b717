"""Parquet and the images in it: what is read, and row 14 of the hostile inputs."""

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from app.spec.dataset import DatasetSpec
from app.spec.problems import Refused
from workers.data import parquet
from workers.data.raw import Limits, Raw
from workers.data.readers import read

Spec = Callable[..., DatasetSpec]
Refusal = Callable[..., Refused]


def png(shape: tuple[int, ...] = (4, 5, 3), value: int = 7, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full(shape, value, np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_images(table: Callable[..., Raw], kind: str, shape: tuple[int, ...]) -> None:
    images = [png(shape, value, kind) for value in range(100)]
    x = table("parquet", {"image": images, "label": [0] * 100}).splits["train"].x
    # WebP knows no grey.
    assert x.shape[1:] == ((4, 5, 3) if kind == "WEBP" else shape)
    assert x.dtype == np.uint8
    np.testing.assert_allclose(x.reshape(100, -1).T, [range(100)] * x[0].size, atol=2)


def test_images_as_the_hub_keeps_them(table: Callable[..., Raw]) -> None:
    images = [{"bytes": png(value=value), "path": "a.png"} for value in (1, 2)]
    raw = table("parquet", {"image": images, "label": [0, 1]})
    assert raw.splits["train"].x[:, 0, 0, 0].tolist() == [1, 2]


BAD_IMAGES = {
    "not an image": ("invalid_image", 422, [png(), b"GIF89a"]),
    "nothing": ("invalid_image", 422, [png(), b""]),
    "cut off": ("invalid_image", 422, [png(), png()[:40]]),
    "another size": ("ragged_features", 422, [png(), png((5, 5, 3))]),
    "grey and colour": ("ragged_features", 422, [png(), png((4, 5))]),
    "too many pixels": ("image_too_large", 413, [png((2000, 2000)), png()]),
}


@pytest.mark.parametrize(("code", "status", "images"), BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_bad_images_are_refused_by_row(
    table: Callable[..., Raw], refusal: Refusal, code: str, status: int, images: list[bytes]
) -> None:
    columns = {"image": images, "label": [0, 1]}
    refused = refusal(lambda: table("parquet", columns, Limits(max_pixels=10**6)))
    assert (refused.code, refused.status) == (code, status)
    assert f"row {int(status == 422)} " in refused.detail.lower()


def test_an_image_bomb_is_413(table: Callable[..., Raw], refusal: Refusal) -> None:
    file = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(file, "PNG")
    refused = refusal(table, "parquet", {"image": [file.getvalue()], "label": [0]})
    assert refused.code == "image_too_large"


def test_a_parquet_bomb_of_rows_is_413(tmp_path: Path, spec: Spec, refusal: Refusal) -> None:
    zeros = pa.array(np.zeros(60_000_000, np.int8))
    pq.write_table(pa.table({"image": zeros, "label": zeros}), tmp_path / "a", compression="zstd")
    assert (tmp_path / "a").stat().st_size < 10**6
    refused = refusal(read, tmp_path / "a", spec())
    assert (refused.status, refused.code) == (413, "too_many_rows")


def test_a_parquet_bomb_of_values_is_413(tmp_path: Path, spec: Spec, refusal: Refusal) -> None:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(3_000_000, np.float32)), 3000)
    table = pa.table({"image": lists, "label": np.zeros(1000, np.int8)})
    pq.write_table(table, tmp_path / "a")
    assert (tmp_path / "a").stat().st_size < 100_000
    refused = refusal(read, tmp_path / "a", spec(), Limits(max_bytes=10 * 2**20))
    assert (refused.status, refused.code) == (413, "dataset_too_large")


def test_a_parquet_bomb_of_one_image_repeated_is_413_in_flat_memory(
    tmp_path: Path, spec: Spec, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = png((600, 600, 3)) + bytes(10**6)
    repeated = pa.DictionaryArray.from_arrays(pa.array(np.zeros(5000, np.int32)), [image])
    pq.write_table(pa.table({"image": repeated, "label": np.zeros(5000, np.int8)}), tmp_path / "a")
    assert (tmp_path / "a").stat().st_size < 3 * 10**6
    monkeypatch.setattr(parquet, "BATCH_BYTES", 8 * 2**20)
    before = pa.total_allocated_bytes()
    refused = refusal(read, tmp_path / "a", spec(), Limits(max_bytes=40 * 2**20))
    assert (refused.status, refused.code) == (413, "dataset_too_large")
    assert pa.total_allocated_bytes() - before < 40 * 2**20


def test_a_parquet_file_of_many_columns_or_a_huge_footer_is_413(
    table: Callable[..., Raw], text: Callable[..., Raw], refusal: Refusal
) -> None:
    columns = {f"c{place}": [1] for place in range(11)}
    limits = Limits(max_columns=10)
    assert refusal(lambda: table("parquet", columns, limits)).code == "too_many_columns"
    assert refusal(lambda: table("csv", columns, limits)).code == "too_many_columns"
    footer = b"PAR1" + bytes(100) + (65 * 2**20).to_bytes(4, "little") + b"PAR1"
    assert refusal(text, "parquet", footer).code == "footer_too_large"


SMALL = io.BytesIO()
pq.write_table(pa.table({"image": [[1, 2]] * 4, "label": ["a", "b"] * 2}), SMALL)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(SMALL.getvalue())
    for _ in range(draw(st.integers(1, 3))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=damaged())
def test_damaged_parquet_is_read_or_refused(content: bytes, text: Callable[..., Raw]) -> None:
    with suppress(Refused):
        assert text("parquet", content).splits
