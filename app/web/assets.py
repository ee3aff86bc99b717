"""The files of the dashboard, read once: a few hundred kilobytes, kept with their packed form."""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).with_name("static")
PAGE: Final = "index.html"
PLACE: Final = "{{static}}"
"""Where the page names the folder of its files."""

# Not left to the machine's own table, which may not know of modules or fonts.
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True)
class Asset:
    """A file as it is sent."""

    media_type: str
    content: bytes
    packed: bytes | None
    """Gzipped; None where that would not make it smaller."""

    @classmethod
    def of(cls, name: str, content: bytes) -> "Asset":
        suffix = Path(name).suffix
        media_type = TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "text/plain"
        packed = gzip.compress(content, mtime=0)
        return cls(media_type, content, packed if len(packed) < 0.9 * len(content) else None)


@dataclass(frozen=True)
class Dashboard:
    """The page, and the files that it names under an address of their own for each version: a
    browser may keep them for ever, and never mixes those of two versions."""

    version: str
    page: Asset
    files: Mapping[str, Asset]


@cache
def dashboard() -> Dashboard:
    files = {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for path in sorted(ROOT.rglob("*"))
        if path.is_file()
    }
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    version = digest.hexdigest()[:16]
    page = files.pop(PAGE).decode().replace(PLACE, f"static/{version}").encode()
    return Dashboard(
        version,
        Asset.of(PAGE, page),
        {name: Asset.of(name, content) for name, content in files.items()},
    )
