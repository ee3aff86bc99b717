"""Controls: students that lack some of what a teacher gives, so that its parts can be told apart.

Each is a run like the baseline: the same student, data, budget and seeds.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from app.spec.base import Spec
from app.spec.methods.base import Flaw, Method
from app.spec.networks import Network

FEWEST_CLASSES = 3
"""With two classes there is one that is not the target's: nothing to be alike or not."""


class Control(Spec):
    """What every control tells of itself, beside its parameters."""

    needs_teacher: ClassVar[bool] = True
    own_method: ClassVar[bool] = False
    """Whether it is the job's own method with another teacher, and not plain training."""

    name: str

    def stage_epochs(self, method: Method, epochs: int) -> tuple[int, ...]:
        """Epochs of each of its stages, in a job of `epochs` epochs with that method."""
        return method.stage_epochs(epochs) if self.own_method else (epochs,)

    def unfit(
        self,
        method: Method,
        student: Network,  # noqa: ARG002
        teachers: Sequence[Network],  # noqa: ARG002
    ) -> Iterator[tuple[str, str]]:
        """Codes and details of why it makes no sense for this job."""
        if method.control is not None and not self.own_method:
            yield (
                "unlike_the_baseline",
                f"{method.title} has a baseline of its own kind, to which plain training compares "
                "badly.",
            )


class LabelSmoothing(Control):
    """Labels (1 - e) y + e / C without any teacher: the pull towards unsure outputs alone.

    What it reaches is regularisation (Yuan et al. 2020, arXiv 1909.11723).
    """

    needs_teacher: ClassVar[bool] = False

    name: Literal["label_smoothing"] = "label_smoothing"
    smoothing: float = Field(default=0.1, gt=0, lt=1)
    """e above."""


class CWTM(Control):
    """Hard labels, each example weighted by the teacher's confidence (Furlanello et al. 2018,
    arXiv 1805.04770, equation 8): how hard the teacher finds an example, and no more."""

    name: Literal["cwtm"] = "cwtm"


class Permuted(Control):
    """The job's own method and teachers, the soft targets' classes permuted but for the largest,
    anew for each example and step (Furlanello et al. 2018, DKPP, equation 10).

    The teacher's answer, its confidence and the shape of its targets stay; which of the other
    classes are alike is lost. What the student has over this control is dark knowledge.
    """

    own_method: ClassVar[bool] = True

    name: Literal["permuted"] = "permuted"

    def unfit(
        self, method: Method, student: Network, teachers: Sequence[Network]
    ) -> Iterator[tuple[str, str]]:
        yield from super().unfit(method, student, teachers)
        if not method.logits_alone:
            yield (
                "no_soft_targets",
                f"{method.title} takes more of its teacher than soft targets: they alone can be "
                "permuted.",
            )
        if student.classes < FEWEST_CLASSES:
            yield "too_few_classes", "Two classes have no similarities that could be destroyed."


class RandomTeacher(Control):
    """The job's own method, its teachers replaced by networks of the same architecture with fresh
    weights: what this loss does to a student by itself, whatever is taught."""

    own_method: ClassVar[bool] = True

    name: Literal["random_teacher"] = "random_teacher"

    def unfit(
        self, method: Method, student: Network, teachers: Sequence[Network]
    ) -> Iterator[tuple[str, str]]:
        yield from super().unfit(method, student, teachers)
        if not teachers:
            yield (
                "checkpoint_required",
                "Recorded outputs have no architecture to be given fresh weights.",
            )


ControlSpec = Annotated[
    LabelSmoothing | CWTM | Permuted | RandomTeacher, Field(discriminator="name")
]


def flaws(
    controls: Sequence[Control],
    method: Method,
    student: Network,
    teachers: Sequence[Network],
    *,
    taught: bool,
    labelled: bool,
) -> Iterator[Flaw]:
    """What these controls cannot be; `taught` says whether anybody teaches, by a checkpoint or by
    outputs that the data set brings."""
    taught = taught and method.teacher_bounds[1] != 0
    for index, control in enumerate(controls):
        pointer = f"/baseline/controls/{index}"
        if not method.compared:
            detail = (
                f"{method.title} learns from the labels alone: there are no parts to tell apart."
            )
            yield pointer, "nothing_to_compare", detail
        elif not labelled:
            yield pointer, "labels_required", "Controls, like a baseline, are trained on labels."
        elif control.needs_teacher and not taught:
            detail = f"{control.name} needs a teacher that the method learns from."
            yield pointer, "teacher_required", detail
        else:
            for code, detail in control.unfit(method, student, teachers):
                yield pointer, code, detail
