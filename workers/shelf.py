"""A job's artifact rows: what is kept of what its attempts made."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app import blobs
from app.db import insert_for
from app.ids import new_id
from app.tables import Artifact

CHECKPOINT: Final = "checkpoint"
DELIVERABLE: Final = "deliverable"
ONCE: Final = "once"
KEEP = 2
"""Checkpoints kept, beside the best: the last one may turn out to be damaged."""


@dataclass(frozen=True)
class Made:
    """A file of an attempt that already lies in storage."""

    name: str
    kind: str
    format: str
    sha256: str
    size: int
    facts: dict[str, Any] = field(default_factory=dict)
    """A checkpoint's stage, step and whether it is the best; a deliverable's stage and step."""


def put(
    session: Session, job_id: str, token: int, made: Made, stored: Callable[[str], bool]
) -> bool:
    """Writes the row, replacing one of the same name. True when the job has come further by it.

    `stored` asks the storage for the bytes. Raises BytesGone.
    """
    earlier = of_kind(session, job_id, CHECKPOINT) + of_kind(session, job_id, DELIVERABLE)
    blobs.refer(session, made.sha256, made.size, stored=stored)
    values = {
        "kind": made.kind,
        "format": made.format,
        "sha256": made.sha256,
        "size": made.size,
        "token": token,
        "facts": made.facts,
    }
    session.execute(
        insert_for(session, Artifact)
        .values(id=new_id("art"), job_id=job_id, name=made.name, **values)
        .on_conflict_do_update(index_elements=["job_id", "name"], set_=values)
    )
    if made.kind == CHECKPOINT:
        _prune(session, job_id, made)
    if made.kind not in (CHECKPOINT, DELIVERABLE):
        return False
    return all(_reached(row.facts) < _reached(made.facts) for row in earlier)


def of_kind(session: Session, job_id: str, kind: str) -> list[Artifact]:
    """The furthest first."""
    rows = session.scalars(
        select(Artifact)
        .where(Artifact.job_id == job_id, Artifact.kind == kind)
        .execution_options(populate_existing=True)
    )
    return sorted(rows, key=lambda row: _reached(row.facts), reverse=True)


def _reached(facts: dict[str, Any]) -> tuple[int, int]:
    return facts.get("stage", 0), facts.get("step", 0)


def _prune(session: Session, job_id: str, newest: Made) -> None:
    """Keeps the last checkpoints and the best one."""
    rows = of_kind(session, job_id, CHECKPOINT)
    if newest.facts.get("best"):
        for row in rows:
            row.facts = row.facts | {"best": row.name == newest.name}
    spare = [row.id for row in rows[KEEP:] if not row.facts.get("best")]
    session.execute(delete(Artifact).where(Artifact.id.in_(spare)))
