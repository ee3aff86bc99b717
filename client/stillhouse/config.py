"""Where the service is and which key it takes: environment, then what `stillhouse login` stored."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.errors import StillhouseError

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Config:
    """A service and a key, and where each of them was found."""

    url: str
    key: str | None
    url_from: str
    key_from: str | None


def path() -> Path:
    """A file that is the user's own."""
    import platformdirs

    return platformdirs.user_config_path("stillhouse") / "config.json"


def read(url: str | None = None, key: str | None = None) -> Config:
    """Raises StillhouseError where the stored file cannot be read. A stored key goes to the
    service that it was stored for, and to no other."""
    stored = _stored()
    url_from, key_from = "given", "given" if key else None
    if url is None:
        url, url_from = os.environ.get("STILLHOUSE_URL") or None, "STILLHOUSE_URL"
    if url is None:
        url, url_from = stored.get("url"), str(path())
    if url is None:
        url, url_from = DEFAULT_URL, "default"
    url = normal(url)
    if key is None:
        key, key_from = os.environ.get("STILLHOUSE_KEY") or None, "STILLHOUSE_KEY"
    if key is None:
        key, key_from = stored.get("keys", {}).get(url), str(path())
    return Config(url, key, url_from, key_from if key else None)


def store(url: str, key: str | None) -> Path:
    """Remembers a service as the one to use, and its key, readable by the user alone."""
    stored = _stored()
    keys = {**stored.get("keys", {}), normal(url): key}
    document = {"url": normal(url), "keys": {of: one for of, one in keys.items() if one}}
    return _write(document)


def forget(url: str) -> bool:
    """Whether there was a key to forget."""
    stored = _stored()
    keys = stored.get("keys", {})
    if normal(url) not in keys:
        return False
    del keys[normal(url)]
    _write(stored)
    return True


def readable_by_others() -> bool:
    return path().exists() and bool(path().stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def normal(url: str) -> str:
    """`host:port` means http."""
    url = url.strip().rstrip("/")
    return url if "://" in url else f"http://{url}"


def _stored() -> dict[str, Any]:
    try:
        document = json.loads(path().read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error
    if not isinstance(document, dict):
        raise _unreadable(ValueError("it holds no object"))
    return document


def _unreadable(error: Exception) -> StillhouseError:
    failure = StillhouseError(f"{path()} cannot be read: {error}.")
    failure.hint = "Remove it, and log in again with `stillhouse login`."
    return failure


def _write(document: dict[str, Any]) -> Path:
    target = path()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    # Private from its first moment on, whatever the umask.
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(document, file, indent=2)
    part.replace(target)
    return target
