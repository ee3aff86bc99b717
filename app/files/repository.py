"""SQL on files and on the blobs behind them."""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Select, Text, cast, delete, select
from sqlalchemy.orm import Session

from app import blobs
from app.db import KEPT
from app.ids import new_id
from app.jobs import repository as jobs
from app.storage import Storage
from app.tables import Dataset, File, Teacher


def add(session: Session, filename: str, sha256: str, size: int, storage: Storage) -> File:
    """A new name for a blob that storage already holds. Raises BytesGone."""
    blobs.refer(session, sha256, size, stored=storage.exists)
    file = File(id=new_id("file"), filename=filename, sha256=sha256, size=size)
    session.add(file)
    session.flush()
    return file


def get(session: Session, file_id: str) -> File | None:
    return session.get(File, file_id)


def get_many(session: Session, file_ids: Iterable[str]) -> dict[str, File]:
    """Those that exist, by id; nobody deletes them until this transaction ends."""
    rows = session.scalars(select(File).where(File.id.in_(set(file_ids))).with_for_update(**KEPT))
    return {row.id: row for row in rows}


def listed(sha256: str | None) -> Select[File]:
    return select(File) if sha256 is None else select(File).where(File.sha256 == sha256)


def lock(session: Session, file_id: str) -> File | None:
    """The file, which nothing new can name until this transaction ends."""
    return session.get(File, file_id, with_for_update=True)


def remove(session: Session, file_id: str) -> None:
    session.execute(delete(File).where(File.id == file_id))


def users(session: Session, file_id: str) -> list[str]:
    """The teachers and datasets that were made of it, and the jobs that will start from it."""
    teachers = session.scalars(select(Teacher.id).where(Teacher.file_id == file_id))
    datasets = session.execute(
        select(Dataset.id, Dataset.spec).where(
            cast(Dataset.spec, Text).contains(f'"{file_id}"', autoescape=True)
        )
    )
    named = [row.id for row in datasets if file_id in _named(row.spec["source"])]
    return [*sorted(teachers), *sorted(named), *jobs.users(session, file_id)]


def _named(source: dict[str, Any]) -> Iterator[str | None]:
    yield source.get("file")
    for ids in (source.get("files") or {}).values():
        yield from ids
