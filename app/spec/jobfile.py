"""A job file: a job and where its ids lie on disk. The one door into the trainer.

The supervisor writes one for each attempt; a person writes one by hand and runs
`python -m workers.runner job.json --out DIR` with no service at all.
"""

from pathlib import Path

from pydantic import Field

from app.spec.base import Spec
from app.spec.dataset import DatasetFacts, DatasetSpec, FileId, Preprocess
from app.spec.job import DatasetId, JobSpec, TeacherId
from app.spec.networks import NetworkSpec


class TeacherFile(Spec):
    """A teacher's checkpoint on disk."""

    network: NetworkSpec
    file: Path
    """Safetensors."""
    sha256: str | None = None
    """Null: hashed when read."""
    preprocess: Preprocess | None = None
    """Null: the data set's own."""


class PreparedFile(Spec):
    """A data set that an inspection has already prepared."""

    file: Path
    facts: DatasetFacts
    name: str | None = None


class Checkpoint(Spec):
    """Where a run goes on from."""

    file: Path
    sha256: str


class Deliverable(Spec):
    """What a finished stage handed on; with it the stage is not trained again."""

    stage: int
    file: Path
    sha256: str


class Resolved(Spec):
    """Every `auto`, fixed at the first claim and kept on resume, so that bits do not change."""

    device: str
    threads: int = Field(ge=1)
    precision: str


class ReportFile(Spec):
    """A teacher to be described on a data set; null is who gave the outputs that this brings."""

    dataset: PreparedFile
    teacher: TeacherFile | None = None
    device: str = "auto"
    threads: int | None = Field(default=None, ge=1)


class JobFile(Spec):
    """All a trainer needs to know."""

    job: JobSpec
    owner: str = ""
    """Whose job it is: what is kept for later jobs is kept for the owner's."""
    teachers: dict[TeacherId, TeacherFile] = Field(default_factory=dict)
    datasets: dict[DatasetId, PreparedFile | DatasetSpec]
    files: dict[FileId, Path] = Field(default_factory=dict)
    resolved: Resolved | None = None
    device: str = "auto"
    slot: int = Field(default=0, ge=0)
    """Which of a worker's trainings this is; of several GPUs that `device` leaves open, which."""
    threads: int | None = Field(default=None, ge=1)
    checkpoint_every_s: float = Field(default=60.0, gt=0)
    checkpoint: Checkpoint | None = None
    deliverables: tuple[Deliverable, ...] = ()
    once: dict[str, Path] = Field(default_factory=dict)
    """What an earlier attempt computed once, by artifact name."""
    curves: dict[str, tuple[tuple[float, float], ...]] = Field(default_factory=dict)
    """(epoch, value) of what earlier attempts measured, by metric: for the card's pictures."""
