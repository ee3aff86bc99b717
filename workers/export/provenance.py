"""provenance.json: what a student was made of, by what, so that it can be made again."""

import platform
from collections.abc import Mapping
from typing import Any

import torch

from app import __version__
from app.spec.jobfile import JobFile, PreparedFile, Resolved


def provenance(
    file: JobFile,
    dataset: PreparedFile,
    resolved: Resolved,
    *,
    teachers: Mapping[str, str],
    engine: int,
) -> dict[str, Any]:
    """`teachers` are SHA-256 by id.

    No time and no id of the job: the same run makes the same document.
    """
    job, facts = file.job, dataset.facts
    first = job.training.seed
    runs = job.baseline.seeds if job.baseline else 1
    return {
        "made_by": {
            "stillhouse": __version__,
            "engine": engine,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "arithmetic": resolved.model_dump(mode="json"),
        "job": job.model_dump(mode="json"),
        "seeds": {"runs": list(range(first, first + runs)), "transfer": job.transfer.seed},
        "teachers": [
            {
                "id": identity,
                "sha256": teachers[identity],
                "network": teacher.network.model_dump(mode="json"),
                "preprocess": teacher.preprocess and teacher.preprocess.model_dump(mode="json"),
            }
            for identity in job.teachers
            for teacher in [file.teachers[identity]]
        ],
        "dataset": {
            "id": job.dataset,
            "name": dataset.name,
            "sha256": facts.sha256,
            "source_sha256": facts.source_sha256,
            "license": facts.license,
            "rows": dict(facts.rows),
        },
    }
