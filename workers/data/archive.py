"""ZIP archives from strangers: their directory bounded, their members harmless."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.spec.problems import Refused

# Deflate reaches 1,032 to one. Images and tables reach 20; a member beyond this is a bomb.
MAX_RATIO = 200
BOMB_BYTES = 256 * 2**20

# What zipfile and zlib raise for bytes that are not what they seem.
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    ValueError,
)


class _Bounded(io.FileIO):
    """A file of which no single read is large: zipfile reads the whole directory in one."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size > self._most:
            raise Refused.too_large("too_many_members", "The archive's directory is too large.")
        return super().read(size) or b""


@contextmanager
def opened(path: Path, *, directory_bytes: int, code: str) -> Iterator[zipfile.ZipFile]:
    """The archive, if its directory takes no more than that.

    Raises Refused 413 `too_many_members`, and 422 with `code` for whatever cannot be read inside.
    """
    try:
        with _Bounded(path, directory_bytes) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except UNREADABLE as error:
        raise Refused.invalid(code, f"The archive cannot be read: {error}.") from error


def check_member(info: zipfile.ZipInfo) -> None:
    """Raises Refused: 422 for a name that is a way out, a link, encryption or an unusual
    compression, 413 `decompression_bomb`."""
    name = info.filename
    parts = name.removesuffix("/").split("/")
    if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise Refused.invalid("unsafe_member_name", f"{name[:200]!a} is not a path inside.")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise Refused.invalid("unsafe_member_name", f"{name[:200]!r} is a symbolic link.")
    if info.flag_bits & 0x1:
        raise Refused.invalid("encrypted_archive", "The archive is encrypted.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Refused.invalid(
            "unusual_compression", f"{name[:200]!r} is neither stored nor deflated."
        )
    if info.file_size > max(BOMB_BYTES, MAX_RATIO * info.compress_size):
        raise Refused.too_large(
            "decompression_bomb",
            f"{name[:200]!r} inflates {info.compress_size} bytes to {info.file_size}.",
        )
