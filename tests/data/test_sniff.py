"""Rows 1 and 2 of the hostile inputs: what is not safetensors is refused by its first bytes."""

import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save

from app.errors import problem_document
from app.spec.problems import Refused
from app.spec.sniff import SNIFF_BYTES, sniff_checkpoint, sniff_dataset

STATE = {"layers.0.weight": torch.ones(2, 3)}


def torch_file(**options: object) -> bytes:
    file = io.BytesIO()
    torch.save(STATE, file, **options)
    return file.getvalue()


def zip_file(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"code")
    return file.getvalue()


def tar_file() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.safetensors"))
    return file.getvalue()


PICKLES = {
    "torch zip": torch_file(),
    "torch legacy": torch_file(_use_new_zipfile_serialization=False),
    **{f"protocol {p}": pickle.dumps({"a": [1.0]}, protocol=p) for p in range(6)},
    "protocol 0 list": pickle.dumps([1], protocol=0),
    "protocol 0 global": b"cposix\nsystem\n(S'true'\ntR.",
    "torchscript": zip_file("net/data.pkl", "net/code/__torch__.py", "net/constants.pkl"),
}
OTHERS = {
    "pt2": zip_file("net/data/weights/weight_0", "net/models/model.json"),
    "npz": zip_file("x.npy"),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(30),
    "gzip": b"\x1f\x8b\x08" + bytes(30),
    "tar": tar_file(),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(30),
    "onnx": b"\x08\x08\x12\x07pytorch\x1a\x03",
}


@pytest.mark.parametrize("content", PICKLES.values(), ids=PICKLES.keys())
def test_a_pickle_is_refused_with_a_hint(content: bytes) -> None:
    with pytest.raises(Refused) as caught:
        sniff_checkpoint(content[:SNIFF_BYTES], "teacher.safetensors")
    assert (caught.value.status, caught.value.code) == (415, "pickle_not_accepted")
    assert "safetensors.torch.save_file" in caught.value.as_problem()["detail"]


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS.keys())
def test_another_format_is_refused(content: bytes) -> None:
    with pytest.raises(Refused) as caught:
        sniff_checkpoint(content[:SNIFF_BYTES], None)
    assert (caught.value.status, caught.value.code) == (415, "unsupported_checkpoint")


@pytest.mark.parametrize("name", ["a.pt", "a.PTH", "a.bin", "a.ckpt", "a.pkl", "a.pt2"])
def test_a_name_alone_is_enough_when_the_bytes_say_nothing(name: str) -> None:
    with pytest.raises(Refused, match=r"not_accepted|unsupported"):
        sniff_checkpoint(b"whatever", name)


@pytest.mark.parametrize("name", ["teacher.safetensors", "pytorch_model.bin", None])
def test_safetensors_passes_under_any_name(name: str | None) -> None:
    sniff_checkpoint(save(STATE)[:SNIFF_BYTES], name)


def test_a_header_length_that_spells_a_pickle_passes() -> None:
    text = b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'.ljust(0x280)
    content = len(text).to_bytes(8, "little") + text
    assert content.startswith(b"\x80\x02")
    sniff_checkpoint(content[:SNIFF_BYTES], None)


def test_dataset_formats() -> None:
    npz = io.BytesIO()
    np.savez(npz, x=np.zeros(1))
    assert sniff_dataset(npz.getvalue()[:SNIFF_BYTES]) == "npz"
    assert sniff_dataset(b"PAR1\x15\x00") == "parquet"
    assert sniff_dataset(b'\xef\xbb\xbf {"image": []}') == "jsonl"
    assert sniff_dataset(b"}q,label\n1,2\n") == "csv"


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 422), (b"\x1f\x8b\x08abc", 415), (pickle.dumps(1), 415), (b"MZ\x00\x01", 415)],
)
def test_a_dataset_of_no_known_format_is_refused(content: bytes, status: int) -> None:
    with pytest.raises(Refused) as caught:
        sniff_dataset(content)
    assert caught.value.status == status


def test_a_refusal_crosses_processes() -> None:
    refused = Refused.invalid("some_code", "What.", "Do so.", "/source/file")
    problem = pickle.loads(pickle.dumps(refused)).as_problem()
    assert problem == refused.as_problem()
    assert problem["detail"] == "What. Do so."
    assert problem["errors"] == [
        {"pointer": "/source/file", "code": "some_code", "detail": "What."}
    ]


def test_a_refusal_has_the_members_of_every_problem() -> None:
    problem = Refused.invalid("some_code", "What.").as_problem()
    assert problem == problem_document(422, "some_code", "What.")
    assert "errors" not in Refused.too_large("some_code", "What.").as_problem()
