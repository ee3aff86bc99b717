"""Warnings: what is allowed, and probably not meant."""

from collections.abc import Iterator

from sqlalchemy.orm import Session

from app.jobs import repository
from app.jobs.materials import Material
from app.jobs.schemas import Warned
from app.spec.job import JobSpec
from app.spec.methods import KD, Logits
from app.spec.methods.base import Method


def advise(session: Session, spec: JobSpec, material: Material) -> list[Warned]:
    return [
        *_about_teachers(session, spec, material),
        *_about_bits(spec),
        *_about_training(spec, material),
    ]


def _about_teachers(session: Session, spec: JobSpec, material: Material) -> Iterator[Warned]:
    student = spec.student.network
    for index, (row, network) in enumerate(zip(material.teachers, material.networks, strict=True)):
        pointer = f"/teachers/{index}"
        if network.parameters <= student.parameters:
            yield Warned(
                pointer=pointer,
                code="student_not_smaller",
                detail=f"The student has {student.parameters:,} parameters, this teacher "
                f"{network.parameters:,}.",
            )
        job = repository.get(session, row.job_id) if row.job_id else None
        if job is not None and job.spec["method"].get("label_smoothing"):
            yield Warned(
                pointer=pointer,
                code="label_smoothed_teacher",
                detail="This teacher was trained with label smoothing: such teachers distil worse "
                "(Mueller et al. 2019).",
            )
    if material.teachers and material.facts.teacher_outputs is not None:
        yield Warned(
            pointer="/teachers",
            code="recorded_outputs_unused",
            detail="The dataset brings a teacher's outputs, but those named here are heard alone.",
        )
    if material.teachers and (unheard := _unheard(spec.method)):
        yield Warned(
            pointer=f"/method/{unheard}",
            code="teacher_unused",
            detail=f"{unheard} is the weight of the soft term: with 0 the teacher is never heard.",
        )
    if student.classes == 2 and (why := spec.method.silent_with_two_classes):
        yield Warned(pointer="/method", code="silent_with_two_classes", detail=why)


def _unheard(method: Method) -> str | None:
    """The weight that silences the teacher."""
    if isinstance(method, KD) and method.soft_weight is not None:
        return "soft_weight" if method.soft_weight == 0 else None
    return "alpha" if isinstance(method, KD | Logits) and method.alpha == 0 else None


def _about_bits(spec: JobSpec) -> Iterator[Warned]:
    after = spec.student.quantize
    if after is not None and after.weights < 8:
        yield Warned(
            pointer="/student/quantize/weights",
            code="few_bits_without_training",
            detail=f"Rounding a trained student to {after.weights} bits can cost much of its "
            "accuracy: the method apprentice trains through the rounding.",
        )
    pointer, form = ("/student/quantize", after) if after else ("/method/quantize", None)
    form = form or spec.method.quantization
    if form is not None and form.first_and_last:
        yield Warned(
            pointer=f"{pointer}/first_and_last",
            code="first_and_last_quantised",
            detail="The first and last layers hold little, and rounding them costs the most.",
        )


def _about_training(spec: JobSpec, material: Material) -> Iterator[Warned]:
    training, rows = spec.training, material.transfer_rows(spec)
    if training.batch_size > rows:
        yield Warned(
            pointer="/training/batch_size",
            code="batch_larger_than_data",
            detail=f"The transfer set has {rows:,} examples: each epoch is one smaller batch.",
        )
    if any(epoch >= training.epochs for epoch in training.schedule.milestones):
        yield Warned(
            pointer="/training/schedule/milestones",
            code="milestone_never_reached",
            detail=f"Training ends after {training.epochs} epochs.",
        )
    if spec.method.whole_after_epochs >= training.epochs:
        yield Warned(
            pointer="/method",
            code="teaching_never_whole",
            detail=f"Of {training.epochs} epochs, {spec.method.name} with these settings takes "
            f"{spec.method.whole_after_epochs:g} until the teaching has its full weight.",
        )
    if not material.facts.rows.get("test"):
        yield Warned(
            pointer="/dataset",
            code="no_test_split",
            detail="The dataset has no test split to report on.",
        )
