"""SQL on datasets."""

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.tables import Dataset


def get(session: Session, dataset_id: str) -> Dataset | None:
    return session.get(Dataset, dataset_id)


def listed() -> Select[Dataset]:
    return select(Dataset)
