"""The rules of registering a teacher that need no torch."""

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json
from sqlalchemy.orm import Session

from app.artifacts import repository as artifacts
from app.db import after_commit
from app.errors import Conflict, Unprocessable, unprocessable
from app.files import repository as files
from app.ids import new_id
from app.jobs import repository as jobs
from app.queue import Doorbell
from app.settings import Settings
from app.spec.networks import Network
from app.spec.sniff import SNIFF_BYTES, sniff_checkpoint
from app.states import TERMINAL, State
from app.storage import Storage
from app.tables import File, Teacher
from app.teachers.schemas import TeacherIn


def create(
    session: Session, wanted: TeacherIn, *, storage: Storage, settings: Settings, bell: Doorbell
) -> Teacher:
    """Raises Unprocessable, Conflict, or Refused for what is no safetensors."""
    if wanted.job is not None:
        teacher = _from_job(session, wanted, wanted.job, storage)
    else:
        teacher = _from_file(session, wanted, storage, settings)
    session.add(teacher)
    session.flush()
    after_commit(session, lambda: bell.inspect_teacher(teacher.id))
    return teacher


def _from_file(
    session: Session, wanted: TeacherIn, storage: Storage, settings: Settings
) -> Teacher:
    network: Network = wanted.network  # type: ignore[assignment]
    file = files.get_many(session, [wanted.file or ""]).get(wanted.file or "")
    if file is None:
        raise unprocessable("/file", "unknown_file", f"There is no file {wanted.file}.")
    _check_class_names(wanted, network.classes)
    budget = settings.memory_budget
    if 4 * network.parameters > budget:
        raise unprocessable(
            "/network",
            "over_memory_budget",
            f"{network.parameters:,} parameters take more than the {budget:,} bytes allowed.",
        )
    sniff_checkpoint(first_bytes(storage, file), file.filename)
    return Teacher(
        id=new_id("tch"),
        name=wanted.name,
        file_id=file.id,
        network=network.model_dump(mode="json"),
        preprocess=_dumped(wanted),
        class_names=_listed(wanted),
        sha256=file.sha256,
    )


@dataclass(frozen=True)
class Student:
    """What a job has made: a network, its weights, how its data were scaled, and what its classes
    are called."""

    network: dict[str, Any]
    sha256: str
    preprocess: dict[str, Any] | None
    class_names: list[Any] | None


def student_of(session: Session, job_id: str, storage: Storage) -> Student:
    """Raises Unprocessable `unknown_job`, Conflict unless the job has succeeded. Nobody deletes
    the job until this transaction ends."""
    job = jobs.keep(session, job_id)
    if job is None:
        raise unprocessable("/job", "unknown_job", f"There is no job {job_id}.")
    if job.state != State.SUCCEEDED:
        raise Conflict(
            "job_not_finished" if job.state not in TERMINAL else "job_without_student",
            f"The job {job_id} is {job.state}: only a succeeded one has a student.",
            retryable=job.state not in TERMINAL,
        )
    student = artifacts.student(session, job_id, "safetensors")
    if student is None:
        raise Unprocessable("job_without_student", f"The job {job_id} has no student.")
    made = _network_document(session, job_id, storage)
    return Student(
        job.spec["student"]["network"],
        student.sha256,
        made.get("preprocess"),
        made.get("class_names"),
    )


def _from_job(session: Session, wanted: TeacherIn, job_id: str, storage: Storage) -> Teacher:
    student = student_of(session, job_id, storage)
    _check_class_names(wanted, student.network["classes"])
    return Teacher(
        id=new_id("tch"),
        name=wanted.name,
        job_id=job_id,
        network=student.network,
        preprocess=_dumped(wanted) or student.preprocess,
        class_names=_listed(wanted) or student.class_names,
        sha256=student.sha256,
    )


def first_bytes(storage: Storage, file: File) -> bytes:
    """What the sniffers want to see."""
    return b"".join(storage.read(file.sha256, 0, min(SNIFF_BYTES, file.size)))


def _network_document(session: Session, job_id: str, storage: Storage) -> dict[str, Any]:
    """network.json: how the job's data were scaled, and what its classes are called."""
    artifact = artifacts.named(session, job_id, "network.json")
    if artifact is None:
        return {}
    document: dict[str, Any] = from_json(b"".join(storage.read(artifact.sha256)))
    return document


def _check_class_names(wanted: TeacherIn, classes: int) -> None:
    if wanted.class_names is not None and len(wanted.class_names) != classes:
        raise unprocessable(
            "/class_names",
            "classes_mismatch",
            f"{len(wanted.class_names)} names for a network of {classes} classes.",
        )


def _dumped(wanted: TeacherIn) -> dict[str, Any] | None:
    return wanted.preprocess.model_dump(mode="json") if wanted.preprocess else None


def _listed(wanted: TeacherIn) -> list[str] | None:
    return list(wanted.class_names) if wanted.class_names else None
