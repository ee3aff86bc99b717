"""SQL on datasets."""

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from app.db import KEPT
from app.tables import Dataset


def get(session: Session, dataset_id: str) -> Dataset | None:
    return session.get(Dataset, dataset_id)


def keep(session: Session, dataset_id: str) -> Dataset | None:
    """The dataset, which nobody deletes until this transaction ends."""
    return session.get(Dataset, dataset_id, with_for_update=dict(KEPT))


def lock(session: Session, dataset_id: str) -> Dataset | None:
    """The dataset, which no new job can name until this transaction ends."""
    return session.get(Dataset, dataset_id, with_for_update=True)


def remove(session: Session, dataset_id: str) -> None:
    session.execute(delete(Dataset).where(Dataset.id == dataset_id))


def listed() -> Select[Dataset]:
    return select(Dataset)
