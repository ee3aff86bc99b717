"""A job's folder on this machine, and the job file that its trainer reads.

<home>/runs/<job>/<token>/         one attempt's job file and output, gone when it has ended
"""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.settings import Settings
from app.spec.dataset import DatasetFacts
from app.spec.job import JobSpec
from app.spec.jobfile import Checkpoint, Deliverable, JobFile, PreparedFile, Resolved, TeacherFile
from app.storage import Storage, StorageAway, hash_file
from app.tables import Artifact
from workers.blobcache import BlobCache
from workers.claims import Claim

log = logging.getLogger(__name__)

HASTE = 16
"""How much more often an attempt saves for each one in a row that was killed before it."""


class Run:
    """One attempt's folder."""

    def __init__(self, settings: Settings, storage: Storage, claim: Claim, slot: int = 0) -> None:
        self._settings = settings
        self._slot = slot
        self._claim = claim
        self._blobs = BlobCache(storage, settings.home, settings.blob_cache_bytes)
        self.folder = settings.home.absolute() / "runs" / claim.job_id / str(claim.token)
        self.out = self.folder / "out"
        self.job_file = self.folder / "job.json"

    def prepare(self) -> None:
        """Brings the blobs here and writes the job file.

        Raises OSError, and ValidationError for a row that this version cannot read.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        self.job_file.write_text(self._job_file().model_dump_json())

    def output(self, name: str) -> Path:
        """A file that the trainer says it wrote. Raises ValueError when it lies elsewhere."""
        path = (self.out / name).resolve()
        if not path.is_relative_to(self.out.resolve()):
            raise ValueError(f"the trainer names a file outside its folder: {name!r}")
        return path

    def clean(self) -> None:
        """Removes the attempt's folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _job_file(self) -> JobFile:
        claim, settings = self._claim, self._settings
        dataset = claim.dataset
        if dataset is None or dataset.sha256 is None:
            raise FileNotFoundError("the job's dataset is gone")
        # One that is damaged counts as never delivered: its stage is trained again.
        deliverables = [
            Deliverable(stage=made.facts["stage"], file=path, sha256=made.sha256)
            for made in claim.deliverables
            if (path := self._whole(made)) is not None
        ]
        delivered = {deliverable.stage for deliverable in deliverables}
        # A stage that was delivered is not trained again, so its checkpoints have had their day.
        current = [made for made in claim.checkpoints if made.facts["stage"] not in delivered]
        return JobFile(
            job=JobSpec.model_validate(claim.spec),
            owner=claim.project_id,
            teachers={id_: self._teacher(id_) for id_ in claim.teachers},
            datasets={
                dataset.id: PreparedFile(
                    file=self._path(dataset.sha256),
                    facts=DatasetFacts.model_validate(dataset.facts),
                    name=dataset.name,
                )
            },
            files={id_: self._path(sha256) for id_, sha256 in claim.files.items()},
            resolved=Resolved.model_validate(claim.resolved) if claim.resolved else None,
            device=settings.device,
            slot=self._slot,
            threads=settings.threads or max(1, len(os.sched_getaffinity(0)) // settings.workers),
            # Workers that are killed again and again should not fail a job that is well.
            checkpoint_every_s=settings.checkpoint_every_s / HASTE**claim.fruitless,
            checkpoint=self._first_readable(current),
            deliverables=tuple(deliverables),
            once={
                made.name: path for made in claim.once if (path := self._whole(made)) is not None
            },
            curves=claim.curves,
        )

    def _teacher(self, teacher_id: str) -> TeacherFile:
        teacher = self._claim.teachers[teacher_id]
        if teacher.sha256 is None:
            raise FileNotFoundError(f"teacher {teacher_id} has no checkpoint")
        # Not all of the row: pydantic turns JSON into the specification's own types.
        return TeacherFile.model_validate(
            {
                "network": teacher.network,
                "file": self._path(teacher.sha256),
                "sha256": teacher.sha256,
                "preprocess": teacher.preprocess,
            }
        )

    def _first_readable(self, checkpoints: Sequence[Artifact]) -> Checkpoint | None:
        """The newest checkpoint whose bytes are what they were."""
        for made in checkpoints:
            if (path := self._whole(made)) is not None:
                return Checkpoint(file=path, sha256=made.sha256)
        return None

    def _whole(self, made: Artifact) -> Path | None:
        """Its file; None, and a line in the log, when its bytes are gone or not what they were.

        Raises StorageAway: work must not be lost to a store that is back in a minute.
        """
        try:
            path = self._path(made.sha256)
            if hash_file(path)[0] == made.sha256:
                return path
            log.warning("%s: %s is damaged", self._claim.job_id, made.name)
        except StorageAway:
            raise
        except OSError as error:
            log.warning("%s: %s cannot be read: %s", self._claim.job_id, made.name, error)
        return None

    def _path(self, sha256: str) -> Path:
        return self._blobs.hold(sha256, self.folder / "in" / sha256)


def made_facts(event: dict[str, Any]) -> dict[str, Any]:
    """What an artifact's row keeps of its event, beside the file itself."""
    own = {name: event[name] for name in ("stage", "step", "best") if name in event}
    facts: dict[str, Any] = event.get("facts", {})
    return own | facts
