"""Rows that the API would have written."""

from typing import Any

from sqlalchemy import update

from app import blobs
from app.db import Database, now_plus
from app.ids import new_id
from app.spec.job import JobSpec
from app.tables import DEFAULT_PROJECT, Dataset, File, Job

ZERO = {
    "stage": 0,
    "stages": 1,
    "epoch": 0,
    "epochs": 1,
    "step": 0,
    "steps": 0,
    "fraction": 0.0,
    "samples_per_s": None,
    "eta_s": None,
}
SHA = "0" * 64
FACTS = {
    "rows": {"train": 8},
    "classes": 2,
    "class_names": None,
    "feature_shape": [4],
    "feature_dtype": "float32",
    "class_balance": None,
    "preprocess": {"scale": 1.0, "mean": [0.0], "std": [1.0]},
    "labelled": True,
    "cut": [],
    "teacher_outputs": None,
    "sha256": SHA,
    "bytes": 1,
    "preview": [],
}


def add_dataset(database: Database, *, sha256: str = SHA, facts: Any = FACTS) -> str:
    identity = new_id("dst")
    with database.transaction() as session:
        blobs.note(session, sha256, 1)
        session.add(
            Dataset(
                id=identity,
                project_id=DEFAULT_PROJECT,
                name="d",
                state="ready",
                spec={},
                facts=dict(facts),
                sha256=sha256,
            )
        )
    return identity


def add_job(database: Database, dataset: str | None = None, **spec: Any) -> str:
    """A queued supervised job of a tiny network."""
    body = {
        "dataset": dataset or add_dataset(database),
        "student": {"network": {"family": "mlp", "inputs": 4, "hidden": [3], "classes": 2}},
        "method": {"name": "supervised"},
        "baseline": None,
        **spec,
    }
    identity = new_id("job")
    with database.transaction() as session:
        session.add(
            Job(
                id=identity,
                project_id=DEFAULT_PROJECT,
                name="j",
                spec=JobSpec.model_validate(body).model_dump(mode="json"),
                progress=ZERO,
            )
        )
    return identity


def add_file(database: Database, filename: str, sha256: str, size: int) -> str:
    identity = new_id("file")
    with database.transaction() as session:
        blobs.note(session, sha256, size)
        session.flush()
        session.add(
            File(
                id=identity, project_id=DEFAULT_PROJECT, filename=filename, sha256=sha256, size=size
            )
        )
    return identity


def set_job(database: Database, job_id: str, **values: Any) -> None:
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))


def expire(database: Database, job_id: str) -> None:
    """Its worker was last heard of too long ago."""
    set_job(database, job_id, lease_until=now_plus(-0.001))


def job(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return session.get_one(Job, job_id)
