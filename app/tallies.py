"""Counts that all workers keep together, and what only one of them does every so often."""

from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import insert_for, now, now_plus
from app.tables import Tally

Name = Literal[
    "sweeps", "rung", "recovered", "poisoned", "removed", "walks", "retentions", "expired"
]
"""sweeps; bells rung again; attempts that went silent; jobs failed for too many attempts; blobs
removed; walks through the whole of storage; rounds of retention, and the artifacts and curves that
they removed."""


def count(session: Session, name: Name, by: int = 1) -> None:
    """Adds, in the transaction of what is counted."""
    session.execute(_upsert(session, name, by))


def due(session: Session, name: Name, every_s: float) -> bool:
    """Whether nobody has counted this for so long. It is counted now: of many that ask at once,
    one hears yes."""
    guarded = _upsert(session, name, 1, where=Tally.counted_at <= now_plus(-every_s))
    return session.execute(guarded.returning(Tally.name)).one_or_none() is not None


def all_of_them(session: Session) -> dict[str, Tally]:
    """By name; what was never counted is not there."""
    return {tally.name: tally for tally in session.scalars(select(Tally))}


def _upsert(session: Session, name: Name, by: int, where: Any = None) -> Any:
    return (
        insert_for(session, Tally)
        .values(name=name, value=by)
        .on_conflict_do_update(
            index_elements=["name"],
            set_={"value": Tally.value + by, "counted_at": now()},
            where=where,
        )
    )
