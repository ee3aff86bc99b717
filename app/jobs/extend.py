"""A job that goes on from another one's checkpoint, where that one left off or was cut short."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import blobs
from app.db import KEPT
from app.errors import Unprocessable, unprocessable
from app.ids import new_id
from app.spec.job import JobSpec
from app.storage import Storage
from app.tables import Artifact, Job

FIXED: Sequence[tuple[str, ...]] = (
    ("teachers",),
    ("dataset",),
    ("student",),
    ("transfer",),
    ("select",),
    ("method", "name"),
    *(
        ("training", field)
        for field in ("batch_size", "seed", "view_seed", "augment", "precision", "eval_every")
    ),
    ("training", "optimizer", "name"),
)
"""What a checkpoint's state belongs to: weights, moments, the order of examples, the views, and the
best epoch so far by the metric that it was best by."""

WEIGHED: Final = frozenset(
    (
        *("temperature", "teacher_temperature", "alpha", "beta", "gamma", "label_smoothing"),
        *("hard_weight", "soft_weight", "hint_weight", "distance_weight", "angle_weight"),
        *("peer_weight", "weight"),
    )
)
"""What a method may change on the way: how its loss softens and weighs, never what it trains."""


def find(session: Session, job: Job, name: str) -> Artifact:
    """The checkpoint by its name, or `best` or `last`; nobody removes it before this transaction
    ends. Raises Unprocessable."""
    rows = session.scalars(
        select(Artifact)
        .where(Artifact.job_id == job.id, Artifact.kind == "checkpoint")
        .with_for_update(**KEPT)
    ).all()
    match name:
        case "best":
            found = [row for row in rows if row.facts.get("best")]
        case "last":
            found = sorted(rows, key=_reached)[-1:]
        case _:
            found = [row for row in rows if row.name == name]
    if not found:
        known = ", ".join(row.name for row in sorted(rows, key=_reached)) or "none"
        raise unprocessable(
            "/from_checkpoint",
            "unknown_checkpoint",
            f"The job {job.id} has no checkpoint {name}; it has: {known}.",
        )
    if found[0].facts.get("stage", 0) != 0:
        raise unprocessable(
            "/from_checkpoint",
            "checkpoint_of_later_stage",
            f"{found[0].name} belongs to a later stage: only a job's first stage can be extended.",
        )
    return found[0]


def check(before: dict[str, Any], spec: JobSpec) -> None:
    """Raises Unprocessable where an override changes what the checkpoint is the state of."""
    after = spec.model_dump(mode="json")
    errors = [
        {
            "pointer": "/overrides/" + "/".join(path),
            "code": "checkpoint_incompatible",
            "detail": "A job that goes on from a checkpoint keeps this.",
        }
        for path in _changed(before, after)
    ]
    if after["training"]["epochs"] < before["training"]["epochs"]:
        errors.append(
            {
                "pointer": "/overrides/training/epochs",
                "code": "checkpoint_incompatible",
                "detail": "A job that goes on from a checkpoint trains as long, or longer.",
            }
        )
    if errors:
        first = errors[0]
        raise Unprocessable(first["code"], f"{first['pointer']}: {first['detail']}", errors=errors)


def give(
    session: Session, made: Artifact, parent: Job, child: Job, storage: Storage, *, per_epoch: int
) -> None:
    """The checkpoint becomes the child's own, which its first attempt resumes from as after any
    interruption, on the arithmetic that the parent ran on. `per_epoch` is steps. Raises
    Unprocessable."""
    try:
        blobs.refer(session, made.sha256, made.size, stored=storage.exists)
    except blobs.BytesGone:
        raise unprocessable(
            "/from_checkpoint", "checkpoint_lost", f"The bytes of {made.name} are gone."
        ) from None
    child.resolved = parent.resolved
    step, steps = made.facts.get("step", 0), child.progress["steps"]
    done = min(step / steps, 1.0) if steps else 0.0
    epochs = child.progress["epochs"]
    child.progress = {
        **child.progress,
        "step": step,
        "epoch": round(min(step / per_epoch, epochs), 3),
        "fraction": round(done, 6),
    }
    session.add(
        Artifact(
            id=new_id("art"),
            job_id=child.id,
            name=made.name,
            kind=made.kind,
            format=made.format,
            sha256=made.sha256,
            size=made.size,
            token=0,
            facts={**made.facts, "best": False},
        )
    )


def _changed(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    method: Sequence[tuple[str, ...]] = ()
    if before["method"]["name"] == after["method"]["name"]:  # one change, not all it brings along
        method = [("method", field) for field in sorted({*after["method"]} - WEIGHED)]
    for path in (*FIXED, *method):
        if _at(before, path) != _at(after, path):
            yield path


def _at(document: Any, path: Sequence[str]) -> Any:
    for step in path:
        document = document.get(step) if isinstance(document, dict) else None
    return document


def _reached(row: Artifact) -> tuple[int, int]:
    return row.facts.get("stage", 0), row.facts.get("step", 0)
