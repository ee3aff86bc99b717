"""ZIPs of folders of images: the layouts that are read, and what is refused (rows 11 and 16)."""

import io
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.spec.dataset import DatasetSpec
from app.spec.problems import Refused
from app.spec.sniff import sniff_dataset
from workers.data import image_folder
from workers.data.raw import Limits, Raw
from workers.data.readers import read

Spec = Callable[..., DatasetSpec]
Refusal = Callable[..., Refused]


def png(value: int, *, size: tuple[int, int] = (4, 3), mode: str = "L", kind: str = "PNG") -> bytes:
    colour = value if mode == "L" else (value,) * 3
    with io.BytesIO() as buffer:
        Image.new(mode, size, colour).save(buffer, kind)
        return buffer.getvalue()


@pytest.fixture
def zipped(tmp_path: Path, spec: Spec) -> Callable[..., Raw]:
    """Reads an archive of these members."""

    def of(members: dict[str, bytes], limits: Limits | None = None, **fields: Any) -> Raw:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as file:
            for name, content in members.items():
                file.writestr(name, content)
        return read(path, spec(**fields), limits)

    return of


SPLITS = {
    "train/cat/1.png": png(10),
    "train/dog/1.png": png(20),
    "train/cat/2.png": png(30),
    "val/dog/9.png": png(40),
    "test/cat/7.png": png(50),
    "test/dog/8.png": png(60),
}


@pytest.mark.parametrize("wrapper", ["", "pets/"])
def test_splits_and_classes(zipped: Callable[..., Raw], wrapper: str) -> None:
    raw = zipped({wrapper + name: content for name, content in SPLITS.items()})
    assert raw.class_names == ("cat", "dog")
    assert raw.classes == 2
    assert {name: split.y.tolist() for name, split in raw.splits.items()} == {
        "train": [0, 0, 1],
        "validation": [1],
        "test": [0, 1],
    }
    assert raw.splits["train"].x.shape == (3, 3, 4)
    assert raw.splits["train"].x.dtype == np.uint8
    assert raw.splits["train"].x[:, 0, 0].tolist() == [10, 30, 20]


def test_classes_alone_are_one_split(zipped: Callable[..., Raw]) -> None:
    raw = zipped({f"digits/{digit}/{i}.png": png(digit) for digit in (3, 10) for i in range(2)})
    assert list(raw.splits) == ["train"]
    assert raw.splits["train"].y.tolist() == [10, 10, 3, 3], "whole numbers stand for themselves"
    assert raw.classes == 11


def test_a_class_may_be_called_train(zipped: Callable[..., Raw]) -> None:
    raw = zipped({"train/1.png": png(1), "test/1.png": png(2), "bus/1.png": png(3)})
    assert raw.class_names == ("bus", "test", "train")
    assert len(raw.splits["train"].x) == 3


def test_names_give_the_order_of_classes(zipped: Callable[..., Raw]) -> None:
    raw = zipped(SPLITS, class_names=["dog", "cat"])
    assert raw.splits["train"].y.tolist() == [1, 1, 0]


def test_without_labels_any_depth_will_do(zipped: Callable[..., Raw]) -> None:
    raw = zipped({"a.png": png(1), "b/c/d.png": png(2)}, label=None)
    assert raw.splits["train"].y is None
    assert len(raw.splits["train"].x) == 2
    assert {name: len(split.x) for name, split in zipped(SPLITS, label=None).splits.items()} == {
        "train": 3,
        "validation": 1,
        "test": 2,
    }


def test_an_archive_for_each_split(tmp_path: Path, spec: Spec) -> None:
    for name in ("train", "test"):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for label in ("a", "b"):
                file.writestr(f"{label}/1.png", png(1))
    source = {"kind": "file", "files": {"train": ["file_1"], "test": ["file_2"]}}
    raw = read({n: [tmp_path / n] for n in ("train", "test")}, spec(source=source))
    assert {name: split.y.tolist() for name, split in raw.splits.items()} == {
        "train": [0, 1],
        "test": [0, 1],
    }


def test_the_order_of_members_makes_no_difference(zipped: Callable[..., Raw]) -> None:
    one, other = zipped(SPLITS), zipped(dict(reversed(SPLITS.items())))
    for name, split in one.splits.items():
        assert np.array_equal(split.x, other.splits[name].x)
        assert np.array_equal(split.y, other.splits[name].y)


def test_formats_and_colours(zipped: Callable[..., Raw]) -> None:
    kinds = {"a.png": "PNG", "b.jpg": "JPEG", "c.jpeg": "JPEG", "d.webp": "WEBP"}
    raw = zipped({f"c/{name}": png(128, mode="RGB", kind=kind) for name, kind in kinds.items()})
    assert raw.splits["train"].x.shape == (4, 3, 4, 3)
    assert np.abs(raw.splits["train"].x.astype(int) - 128).max() <= 2


def test_many_batches(zipped: Callable[..., Raw], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "BATCH_IMAGES", 3)
    raw = zipped({f"{c}/{i:02}.png": png(10 * c + i) for c in (0, 1) for i in range(7)})
    assert raw.splits["train"].x[:, 0, 0].tolist() == [*range(7), *range(10, 17)]
    assert raw.splits["train"].y.tolist() == [0] * 7 + [1] * 7


def test_litter_is_left_out(zipped: Callable[..., Raw]) -> None:
    litter = ("__MACOSX/train/cat/._1.png", ".DS_Store", "train/cat/.hidden.png", "train/Thumbs.db")
    raw = zipped({**dict.fromkeys(litter, b"x"), "empty/": b"", **SPLITS})
    assert len(raw.splits["train"].x) == 3


REFUSED: dict[str, tuple[dict[str, bytes], int, str]] = {
    "out": ({"../a.png": png(1)}, 422, "unsafe_member_name"),
    "out of a folder": ({"a/../../b.png": png(1)}, 422, "unsafe_member_name"),
    "absolute": ({"/etc/a.png": png(1)}, 422, "unsafe_member_name"),
    "backslash": ({"a\\b.png": png(1)}, 422, "unsafe_member_name"),
    "control": ({"a/b\n.png": png(1)}, 422, "unsafe_member_name"),
    "dot": ({"a/./b.png": png(1)}, 422, "unsafe_member_name"),
    "no image": ({"a/1.png": png(1), "a/labels.csv": b"x"}, 422, "unexpected_member"),
    "not what it says": ({"a/1.png": b"\x80\x04K\x01."}, 422, "invalid_image"),
    "a gif": ({"a/1.png": png(1, kind="GIF")}, 422, "invalid_image"),
    "no class": ({"1.png": png(1)}, 422, "unexpected_layout"),
    "two depths": ({"a/1.png": png(1), "train/b/1.png": png(1)}, 422, "unexpected_layout"),
    "no such split": ({"trian/a/1.png": png(1), "test/a/1.png": png(1)}, 422, "unexpected_layout"),
    "too deep": ({"x/train/a/b/1.png": png(1)}, 422, "unexpected_layout"),
    "no train": ({"test/a/1.png": png(1)}, 422, "no_train_rows"),
    "sizes": ({"a/1.png": png(1), "a/2.png": png(1, size=(5, 5))}, 422, "ragged_features"),
    "modes": ({"a/1.png": png(1), "a/2.png": png(1, mode="RGB")}, 422, "ragged_features"),
    "nothing": ({"a/": b""}, 422, "no_train_rows"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(zipped: Callable[..., Raw], refusal: Refusal, case: str) -> None:
    members, status, code = REFUSED[case]
    refused = refusal(zipped, members)
    assert (refused.status, refused.code) == (status, code)


def test_a_refusal_names_the_image(zipped: Callable[..., Raw], refusal: Refusal) -> None:
    refused = refusal(zipped, {"a/1.png": png(1), "b/odd.png": png(1, size=(9, 9))})
    assert "'b/odd.png'" in refused.as_problem()["detail"]
    assert "'a/1.png'" in refused.as_problem()["detail"]


def test_a_link_is_refused(tmp_path: Path, spec: Spec, refusal: Refusal) -> None:
    info = zipfile.ZipInfo("a/1.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    assert refusal(read, tmp_path / "a.zip", spec()).code == "unsafe_member_name"


def test_the_same_name_twice(tmp_path: Path, spec: Spec, refusal: Refusal) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        warnings.simplefilter("ignore", UserWarning)
        file.writestr("a/1.png", png(1))
        file.writestr("a/1.png", png(2))
    assert refusal(read, tmp_path / "a.zip", spec()).code == "duplicate_member"


def test_row_11_a_bomb_of_zeros(tmp_path: Path, spec: Spec, refusal: Refusal) -> None:
    path = tmp_path / "a.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("a/1.png", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2**19
    refused = refusal(read, path, spec())
    assert (refused.status, refused.code) == (413, "decompression_bomb")


def test_a_bomb_of_pixels(zipped: Callable[..., Raw], refusal: Refusal) -> None:
    """A small file that stands for a large image, and many that stand for more together."""
    large = png(0, size=(5000, 4000))
    assert len(large) < 100_000
    assert refusal(zipped, {"a/1.png": large}).code == "image_too_large"
    several = {f"a/{i}.png": png(0, size=(1000, 1000)) for i in range(5)}
    limits = Limits(max_bytes=4_000_000)
    refused = refusal(lambda: zipped(several, limits))
    assert (refused.status, refused.code) == (413, "dataset_too_large")


def test_limits_on_members(
    zipped: Callable[..., Raw], refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal(lambda: zipped(SPLITS, Limits(max_rows=5))).code == "too_many_rows"
    monkeypatch.setattr(image_folder, "MAX_ENCODED_BYTES", 50)
    assert refusal(zipped, SPLITS).code == "image_too_large"
    monkeypatch.setattr(image_folder, "MAX_IMAGES", 5)
    assert refusal(zipped, SPLITS).code == "too_many_members"
    monkeypatch.setattr(image_folder, "MAX_DIRECTORY_BYTES", 100)
    refused = refusal(zipped, SPLITS)
    assert (refused.status, refused.code) == (413, "too_many_members")


def test_a_member_that_lies_about_its_size(tmp_path: Path, spec: Spec, refusal: Refusal) -> None:
    path = tmp_path / "a.zip"
    content = png(7, size=(64, 64))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/1.png", content)
    size = struct.pack("<I", len(content))
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<I", 20)))
    assert refusal(read, path, spec()).status == 422


def test_a_zip_is_told_apart_by_its_first_member() -> None:
    def first(name: str) -> bytes:
        with io.BytesIO() as buffer:
            with zipfile.ZipFile(buffer, "w") as file:
                file.writestr(name, b"x")
            return buffer.getvalue()

    assert sniff_dataset(first("x.npy")) == "npz"
    assert sniff_dataset(first("train/")) == "images"
    assert sniff_dataset(first("cat/1.png")) == "images"
    with pytest.raises(Refused, match="pickle"):
        sniff_dataset(first("archive/data.pkl"))
