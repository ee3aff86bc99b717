"""The service's own secret: what it signs with, and makes others' secrets from."""

import hashlib
import os
import secrets
from pathlib import Path

from app.settings import Settings


def service_secret(settings: Settings) -> bytes:
    """The configured one, else a random one kept under home."""
    if settings.secret is not None:
        return hashlib.sha256(settings.secret.get_secret_value().encode()).digest()
    path = settings.home / "secret.key"
    if not path.exists():
        _create(path)
    return path.read_bytes()


def _create(path: Path) -> None:
    """Whole or not at all, and once: several processes may start at the same moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
