"""What kind of file begins with these bytes: enough to refuse a pickle before anything opens it.

The API asks before it answers, the worker before it reads.
"""

import re
from pathlib import PurePath

from app.spec.dataset import Format
from app.spec.problems import Refused

SNIFF_BYTES = 512
"""How many of the first bytes the functions here want to see (fewer when the file is shorter)."""

MAX_SAFETENSORS_HEADER = 8 * 2**20

CONVERT = (
    "Convert it on your own machine, where you trust it: "
    "safetensors.torch.save_file(state_dict, 'teacher.safetensors')."
)
ACCEPTED_DATA = "Send npz, Parquet, CSV, JSONL, or a ZIP of folders of images."

PICKLE_SUFFIXES = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib"}

# Protocols 0 and 1 have no magic number: these are the ways such a pickle of a container, an
# object or a global begins.
OLD_PICKLE = re.compile(
    rb"\(?c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n"
    rb"|\([dlt](p\d+\n|\.)"
    rb"|[\]})]q[\x00-\xff]"
    rb"|\(i[A-Za-z_][\w.]*\n"
)

ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"Rar!": "a RAR archive",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY": "a single npy array",
    b"GGUF": "a GGUF file",
}


def sniff_checkpoint(first_bytes: bytes, filename: str | None) -> None:
    """Passes what may be safetensors; the pre-parser of its header has the last word.

    Raises Refused 415: `pickle_not_accepted` for anything that unpickling could open,
    `unsupported_checkpoint` for other formats that are known by their first bytes.
    """
    # Asked first: a header length may spell any magic number, such as 0x80 for 128 bytes.
    if _begins_like_safetensors(first_bytes):
        return
    suffix = PurePath(filename or "").suffix.lower()
    if first_bytes.startswith(b"PK"):
        raise _refused_zip(first_bytes, suffix)
    if re.match(rb"\x80[\x02-\x05]", first_bytes) or OLD_PICKLE.match(first_bytes):
        raise _pickle("This is a pickle, which runs code when it is opened.")
    if kind := _archive(first_bytes):
        raise _unsupported(f"This is {kind}, not safetensors.")
    if re.match(rb"\x08[\x01-\x14][\x12\x1a\x22\x3a]", first_bytes) or suffix == ".onnx":
        raise _unsupported("This looks like an ONNX model, not safetensors.")
    if suffix in PICKLE_SUFFIXES:
        raise _pickle(f"A {suffix} file is a pickle, which runs code when it is opened.")
    if suffix == ".pt2":
        raise _unsupported("An exported program (.pt2) is not safetensors.")


def sniff_dataset(first_bytes: bytes) -> Format:
    """The format of a dataset file.

    Raises Refused: 415 `pickle_not_accepted` or `unsupported_dataset`, 422 `empty_file`.
    """
    if not first_bytes:
        raise Refused.invalid("empty_file", "The file is empty.", ACCEPTED_DATA)
    if first_bytes.startswith(b"PAR1"):
        return "parquet"
    if first_bytes.startswith(b"PK"):
        return _kind_of_zip(_first_member(first_bytes))
    # Never protocols 0 and 1 here: they are text, and a CSV may begin with the same letters.
    if re.match(rb"\x80[\x02-\x05]", first_bytes):
        raise Refused.unsupported(
            "pickle_not_accepted",
            "This is a pickle, which runs code when it is opened.",
            ACCEPTED_DATA,
        )
    kind = _archive(first_bytes)
    if kind or b"\x00" in first_bytes:
        raise Refused.unsupported(
            "unsupported_dataset", f"This is {kind or 'an unknown binary file'}.", ACCEPTED_DATA
        )
    text = first_bytes.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "jsonl" if text.startswith(b"{") else "csv"


def _begins_like_safetensors(first_bytes: bytes) -> bool:
    length = int.from_bytes(first_bytes[:8], "little")
    return 2 <= length <= MAX_SAFETENSORS_HEADER and first_bytes[8:9] == b"{"


def _refused_zip(first_bytes: bytes, suffix: str) -> Refused:
    """torch.save, TorchScript and torch.export write ZIPs; the first member tells them apart."""
    member = _first_member(first_bytes)
    if suffix == ".pt2" or member.endswith(b".npy") or b"/weights/" in member:
        return _unsupported("This is a ZIP archive, not safetensors.")
    return _pickle("This is a ZIP archive as torch.save writes it: pickled Python inside.")


def _first_member(first_bytes: bytes) -> bytes:
    """The name of a ZIP's first member; empty where there is none."""
    if not first_bytes.startswith(b"PK\x03\x04"):
        return b""
    return first_bytes[30 : 30 + int.from_bytes(first_bytes[26:28], "little")]


def _kind_of_zip(member: bytes) -> Format:
    if member.endswith((b".pkl", b".pickle")):
        raise Refused.unsupported(
            "pickle_not_accepted", "This is a ZIP archive with a pickle inside.", ACCEPTED_DATA
        )
    return "npz" if not member or member.endswith(b".npy") else "images"


def _archive(first_bytes: bytes) -> str | None:
    if first_bytes[257:262] == b"ustar":
        return "a tar archive"
    return next((kind for magic, kind in ARCHIVES.items() if first_bytes.startswith(magic)), None)


def _pickle(detail: str) -> Refused:
    return Refused.unsupported("pickle_not_accepted", detail, CONVERT)


def _unsupported(detail: str) -> Refused:
    return Refused.unsupported("unsupported_checkpoint", detail, CONVERT)
