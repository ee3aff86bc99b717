"""What can be known of a job before it trains: each rule is a 422 that names its place."""

from collections.abc import Iterator, Sequence
from typing import Any

from app.errors import Unprocessable
from app.jobs.materials import Material
from app.spec import controls
from app.spec.dataset import DatasetFacts
from app.spec.job import JobSpec
from app.spec.methods.base import Flaw
from app.spec.networks import Network
from app.spec.training import Flip
from app.tables import Teacher


def check(spec: JobSpec, material: Material) -> None:
    """Raises Unprocessable with everything that is wrong, the first of it as its code."""
    flaws = [
        *_shapes(spec, material),
        *_teaching(spec, material),
        *spec.method.flaws(spec.student.network, material.networks),
        *_transfer(spec, material),
        *_augmentation(spec, material),
        *_batch(spec, material),
        *_selection(spec, material),
        *controls.flaws(
            spec.controls,
            spec.method,
            spec.student.network,
            material.networks,
            taught=material.teacher_count > 0,
            labelled=material.facts.labelled,
        ),
    ]
    refuse(flaws)


def refuse(flaws: Sequence[Flaw]) -> None:
    """Raises Unprocessable, where there are any."""
    if flaws:
        _, code, detail = flaws[0]
        errors = [dict(zip(("pointer", "code", "detail"), flaw, strict=True)) for flaw in flaws]
        raise Unprocessable(code, detail, errors=errors)


def _shapes(spec: JobSpec, material: Material) -> Iterator[Flaw]:
    """Student and teachers must read these examples and know the same classes."""
    facts, student = material.facts, spec.student.network
    shape = "x".join(map(str, facts.feature_shape))
    if not student.accepts(facts.feature_shape):
        detail = f"The dataset's examples are {shape}, the network's inputs {student.inputs}."
        yield "/student/network/inputs", "shape_mismatch", detail
    if facts.classes is not None and student.classes != facts.classes:
        detail = f"The dataset has {facts.classes} classes, the network {student.classes}."
        yield "/student/network/classes", "classes_mismatch", detail
    for index, peer in enumerate(spec.method.peers_of(student)):
        pointer = spec.method.peer_pointer(index)
        if peer != student and not peer.accepts(facts.feature_shape):
            detail = f"The dataset's examples are {shape}, this peer's inputs {peer.inputs}."
            yield f"{pointer}/inputs", "shape_mismatch", detail
        if peer.classes != student.classes:
            detail = f"This peer has {peer.classes} classes, the student {student.classes}."
            yield f"{pointer}/classes", "classes_mismatch", detail
    for index, (row, network) in enumerate(zip(material.teachers, material.networks, strict=True)):
        pointer = f"/teachers/{index}"
        yield from misfits(row, network, facts, pointer)
        if network.classes != student.classes:
            detail = f"The teacher has {network.classes} classes, the student {student.classes}."
            yield pointer, "classes_mismatch", detail


def misfits(row: Teacher, network: Network, facts: DatasetFacts, pointer: str) -> Iterator[Flaw]:
    """Why a teacher cannot answer for these examples, but for how many classes there are."""
    if not network.accepts(facts.feature_shape):
        shape = "x".join(map(str, facts.feature_shape))
        detail = f"The dataset's examples do not fit the teacher's inputs: they are {shape}."
        yield pointer, "shape_mismatch", detail
    if misfit := channels_misfit(row.preprocess, facts):
        yield pointer, "preprocess_mismatch", misfit
    own, theirs = row.class_names or (), facts.class_names or ()
    if len(own) == len(theirs) and list(own) != list(theirs):
        detail = "Teacher and dataset name their classes differently, or in another order."
        yield pointer, "class_names_mismatch", detail


def channels_misfit(preprocess: dict[str, Any] | None, facts: DatasetFacts) -> str | None:
    """Why a network's own normalisation cannot be applied to these examples."""
    shape = "x".join(map(str, facts.feature_shape))
    constants = len((preprocess or {}).get("mean", ()))
    if constants in (0, 1, facts.feature_shape[-1] if len(facts.feature_shape) != 2 else 1):
        return None
    return f"The network normalises {constants} channels, the dataset's examples are {shape}."


def _teaching(spec: JobSpec, material: Material) -> Iterator[Flaw]:
    """The method must have the teachers and the labels that its loss is made of."""
    method = spec.method
    fewest, _ = method.teacher_bounds
    if material.teacher_count < fewest:
        detail = f"The method {method.name} needs {fewest} teacher{'s' * (fewest > 1)} or more."
        yield "/teachers", "teacher_required", detail
    if method.needs_labels and not material.facts.labelled:
        detail = f"The dataset has no labels, which {method.name} with these weights needs."
        yield "/method", "labels_required", detail
    if method.makes_start and spec.student.file is not None:
        detail = f"{method.name} makes the student's first weights itself, and takes none."
        yield "/student/file", "start_not_taken", detail


def _transfer(spec: JobSpec, material: Material) -> Iterator[Flaw]:
    excluded, classes = spec.transfer.exclude_classes, spec.student.network.classes
    pointer = "/transfer/exclude_classes"
    if excluded and not material.facts.labelled:
        detail = "Classes can be excluded only where examples are labelled."
        yield pointer, "labels_required", detail
    for index, label in enumerate(excluded):
        if label >= classes:
            detail = f"There is no class {label}: they are 0 to {classes - 1}."
            yield f"{pointer}/{index}", "class_out_of_range", detail
    if excluded and material.transfer_rows(spec) == 0:
        yield pointer, "nothing_to_train_on", "Without these classes no example is left."


def _augmentation(spec: JobSpec, material: Material) -> Iterator[Flaw]:
    shape, reach = material.facts.feature_shape, 0
    for index, step in enumerate(spec.training.augment):
        pointer = f"/training/augment/{index}"
        if len(shape) < 2:
            yield pointer, "images_required", f"The augmentation {step.name} is for images only."
        elif not isinstance(step, Flip):
            field, pixels = step.reach
            reach += pixels  # they add up
            if reach >= min(shape[:2]):
                detail = f"Moved by {reach} pixels, nothing may be left of images that small."
                yield f"{pointer}/{field}", "shift_too_large", detail


def _batch(spec: JobSpec, material: Material) -> Iterator[Flaw]:
    """BatchNorm needs two values of a channel: it has one where a batch is one example, and that
    example's map one pixel."""
    if min(spec.training.batch_size, material.transfer_rows(spec)) != 1:
        return
    student = spec.student.network
    trained = (student, *spec.method.peers_of(student))
    if spec.method.batch_norm or any(one.trace().normalises_pixels for one in trained):
        detail = "A batch of one example has no variance, which BatchNorm divides by."
        yield "/training/batch_size", "batch_of_one", detail


def _selection(spec: JobSpec, material: Material) -> Iterator[Flaw]:
    """What an epoch is chosen by must be measurable."""
    if spec.select is None or spec.select.metric == "last":
        return
    pointer, metric = "/select/metric", spec.select.metric
    if not material.facts.rows.get("validation"):
        yield pointer, "validation_required", f"{metric} needs a validation split, there is none."
    if metric == "validation/agreement" and material.teacher_count == 0:
        yield pointer, "teacher_required", f"{metric} needs a teacher to agree with."
    if metric in ("validation/accuracy", "validation/loss") and not material.facts.labelled:
        yield pointer, "labels_required", f"{metric} needs labels, the dataset has none."
