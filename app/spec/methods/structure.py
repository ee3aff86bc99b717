"""Methods that shape networks: branches that teach each other, growth, specialists."""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.spec.growth import growth
from app.spec.methods.base import Flaw, Method
from app.spec.networks import Network
from app.spec.schedules import Fraction, Temperature

ClassSet = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=10_000)
]

PAPER_RAMP = 80 / 300
"""The share of their 300 epochs over which ONE and FFL let their distillation terms grow."""


class Branches(Method):
    """Several copies of a network's last block and classifier over one shared trunk."""

    teachers: ClassVar[tuple[int, int | None]] = (0, 0)

    def flaws(self, student: Network, teachers: Sequence[Network]) -> Iterator[Flaw]:
        yield from super().flaws(student, teachers)
        if not student.trunk:
            detail = (
                f"{self.title} shares all blocks but the last one, and this {student.family} has "
                "nothing below its last block. Give it another hidden layer or stage."
            )
            yield "/student/network", "no_trunk", detail


class ONE(Branches):
    """On-the-fly native ensemble (Lan, Zhu and Gong 2018, arXiv 1806.04606). Needs no teacher.

    m branches share a trunk; a gate g = softmax(ReLU(BN(FC(pooled trunk)))) weighs their logits
    into z_e = sum over i of g_i z_i. loss = sum CE(z_i, y) + CE(z_e, y) + r T^2 sum
    KL(softmax(z_e / T) || softmax(z_i / T)), where z_e is held fixed in the last term and r rises
    as exp(-5 (1 - e / R)^2) over the first R epochs. The student is the first branch.
    """

    title: ClassVar[str] = "On-the-fly native ensemble"
    paper: ClassVar[str | None] = "arXiv:1806.04606"

    name: Literal["one"] = "one"
    branches: int = Field(default=3, ge=2, le=8)
    """m, counting the student's own."""
    temperature: float = Field(default=3.0, gt=0, le=1000)
    """T."""
    ramp_epochs: float | None = Field(default=None, ge=0, le=10_000)
    """R; null is the paper's 80 of 300 epochs in proportion to this job's."""

    @property
    def batch_norm(self) -> bool:
        return True


class FFL(Branches):
    """Feature fusion learning (Kim, Hyun, Chung and Kwak 2019, arXiv 1904.09058). No teacher.

    Branches share a trunk; a fusion module reads their feature maps (concatenation, depthwise 3 x 3
    and 1 x 1 convolutions with BN and ReLU, pooling, a linear layer) and makes z_f. loss = sum
    CE(z_i, y) + CE(z_f, y) + r T^2 [sum KL(softmax(z_f / T) || softmax(z_i / T)) + KL(softmax(z_e /
    T) || softmax(z_f / T))], where z_e is the mean of the z_i, every first argument is held fixed
    and r rises as exp(-5 (1 - e / R)^2) over the first R epochs. The student is the first branch.
    """

    title: ClassVar[str] = "Feature fusion learning"
    paper: ClassVar[str | None] = "arXiv:1904.09058"

    name: Literal["ffl"] = "ffl"
    branches: int = Field(default=2, ge=2, le=8)
    """Sub-networks, counting the student's own."""
    temperature: float = Field(default=3.0, gt=0, le=1000)
    """T."""
    ramp_epochs: float | None = Field(default=None, ge=0, le=10_000)
    """R; null is the paper's 80 of 300 epochs in proportion to this job's."""

    @property
    def batch_norm(self) -> bool:
        return True


class EnsembleNet(Branches):
    """Multi-headed networks with co-distillation (Li, Ng and Natsev 2019, arXiv 1905.09979).

    loss = CE(z_e, y) + mean CE(z_i, y) + w mean KL(softmax(z_e) || softmax(z_i)), where z_e is the
    mean of the heads' logits, held fixed in the last term. This formula is a reading of the paper's
    text, which we could not compare with its authors' code. Needs no teacher. The student is the
    first head; the paper keeps them all.
    """

    title: ClassVar[str] = "EnsembleNet"
    paper: ClassVar[str | None] = "arXiv:1905.09979"

    name: Literal["ensemblenet"] = "ensemblenet"
    heads: int = Field(default=3, ge=2, le=8)
    """Copies of the last block and classifier, counting the student's own."""
    weight: float = Field(default=1.0, ge=0, le=1000)
    """w, of the co-distillation term."""


class Net2Net(Method):
    """Growth from a smaller teacher (Chen, Goodfellow and Shlens 2016, arXiv 1511.05641).

    The student starts as the teacher's function: deeper by layers that change nothing, wider by
    copies of units whose outgoing weights are divided by their number. Then loss =
    cross_entropy(z_s, y) at `lr_scale` times the job's rate. The student is of the teacher's family
    and larger; the baseline, as large, starts from fresh weights at the whole rate.
    """

    title: ClassVar[str] = "Net2Net"
    paper: ClassVar[str | None] = "arXiv:1511.05641"
    teachers: ClassVar[tuple[int, int | None]] = (1, 1)
    makes_start: ClassVar[bool] = True

    name: Literal["net2net"] = "net2net"
    lr_scale: float = Field(default=0.1, gt=0, le=10)
    """Factor on `optimizer.lr`; the paper takes a tenth of the teacher's rate."""
    noise: float = Field(default=0.01, ge=0, le=1)
    """Deviation of what is added to the incoming weights of copied units, in deviations of those
    weights; with 0 the function is kept exactly, and copies stay alike without dropout."""

    def flaws(self, student: Network, teachers: Sequence[Network]) -> Iterator[Flaw]:
        yield from super().flaws(student, teachers)
        if len(teachers) != 1:
            detail = f"{self.title} needs a teacher's checkpoint: recorded outputs have no weights."
            yield "/teachers", "checkpoint_required", detail
        for teacher in teachers[:1]:
            try:
                growth(teacher, student)
            except ValueError as error:
                detail = f"This student cannot start as the teacher's function: {error}."
                yield "/student/network", "cannot_grow", detail


class Specialists(Method):
    """Specialists beside a generalist (Hinton, Vinyals and Dean 2015, section 5, 1503.02531).

    The teacher is the generalist. 1 k-means over the columns of the covariance of its probabilities
    makes sets of classes that it confuses. 2 For each set a copy of the generalist, its head cut to
    the set and a dustbin class, learns from as many examples of the set as of the rest; 3 its
    dustbin logit is then raised by log((1 - pi) / pi), pi the share of the set. 4 q minimises
    KL(p_g || q) + sum of KL(p_m || q) over the specialists whose set meets the generalist's `top`
    classes. Last, what the paper leaves undone, the student learns from q: loss = alpha T^2
    KL(q_T || softmax(z_s / T)) + (1 - alpha) cross_entropy(z_s, y), q_T as q^(1/T), normalised.
    """

    title: ClassVar[str] = "Generalist and specialists"
    paper: ClassVar[str | None] = "arXiv:1503.02531"
    teachers: ClassVar[tuple[int, int | None]] = (1, 1)

    name: Literal["specialists"] = "specialists"
    count: int = Field(default=3, ge=2, le=64)
    """Clusters, where `sets` does not give them."""
    sets: tuple[ClassSet, ...] | None = Field(default=None, min_length=1, max_length=64)
    """The specialists' classes; they may overlap, and need not cover all. Null finds clusters."""
    specialist_epochs: int | None = Field(default=None, ge=1, le=10_000)
    """Epochs of each specialist, over twice the examples of its set; null takes the job's."""
    specialist_lr_scale: float = Field(default=0.1, gt=0, le=10)
    """Factor on `optimizer.lr` for specialists, which start from a trained network."""
    top: int = Field(default=1, ge=1, le=1000)
    """How many of the generalist's most probable classes choose the active specialists."""
    temperature: Temperature = 4.0
    """T of the student's stage. A number or a ramp."""
    alpha: Fraction = 0.9
    """Weight of the SOFT term of the student's stage. A number or a ramp."""

    @model_validator(mode="after")
    def _classes_once(self) -> Self:
        if any(len(set(classes)) < len(classes) for classes in self.sets or ()):
            raise ValueError("a set names a class twice")
        return self

    @property
    def specialists(self) -> int:
        """How many there are."""
        return self.count if self.sets is None else len(self.sets)

    def stage_epochs(self, epochs: int) -> tuple[int, ...]:
        return (self.specialist_epochs or epochs,) * self.specialists + (epochs,)

    def flaws(self, student: Network, teachers: Sequence[Network]) -> Iterator[Flaw]:
        yield from super().flaws(student, teachers)
        if len(teachers) != 1:
            detail = f"{self.title} needs a teacher's checkpoint: recorded outputs have no weights."
            yield "/teachers", "checkpoint_required", detail
        if self.sets is None and self.count >= student.classes:
            detail = f"{student.classes} classes cannot make {self.count} clusters."
            yield "/method/count", "too_many_clusters", detail
        for index, classes in enumerate(self.sets or ()):
            pointer = f"/method/sets/{index}"
            if max(classes) >= student.classes:
                detail = f"There is no class {max(classes)}: they are 0 to {student.classes - 1}."
                yield pointer, "class_out_of_range", detail
            elif len(classes) == student.classes:
                detail = "A specialist of all classes leaves nothing for its dustbin."
                yield pointer, "no_dustbin", detail


class DatasetDistillation(Method):
    """A few synthetic images that train a network (Wang, Zhu, Torralba and Efros 2018, 1811.10959).

    Over images x and rates eta it minimises CE(real batch; theta_n), where theta_{t+1} = theta_t -
    eta_t grad CE(x_t; theta_t) starts from theta_0. The gradient runs through all n descents. Makes
    `synthetic.npz`, a data set, and `synthetic.json`, its rates; the student is theta_n from the
    job's own theta_0. The paper trains with Adam, lr 0.01, betas (0.5, 0.999), batches of 1024 and
    the rate halved every 40 of 400 epochs. Needs no teacher.
    """

    title: ClassVar[str] = "Dataset distillation"
    paper: ClassVar[str | None] = "arXiv:1811.10959"
    teachers: ClassVar[tuple[int, int | None]] = (0, 0)

    name: Literal["dataset_distillation"] = "dataset_distillation"
    steps: int = Field(default=10, ge=1, le=100)
    """Batches of synthetic images, each for one descent of a pass."""
    images_per_class: int = Field(default=1, ge=1, le=100)
    """In each of those batches."""
    passes: int = Field(default=3, ge=1, le=20)
    """Times that the batches are gone through, each descent with a rate of its own."""
    rate: float = Field(default=0.02, gt=0, le=10)
    """Every eta at the start; softplus keeps them positive."""
    initialisation: Literal["random", "fixed"] = "random"
    """theta_0: drawn anew for each real batch, or always the student's own. Images for a fixed one
    reach more (94 against 79 % on MNIST in the paper) and are of little use to any other."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.steps * self.passes > 200:
            raise ValueError(
                "steps times passes is at most 200: the gradient runs through them all"
            )
        return self

    def flaws(self, student: Network, teachers: Sequence[Network]) -> Iterator[Flaw]:
        yield from super().flaws(student, teachers)
        if any(name.endswith("running_mean") for name in student.tensors):
            detail = (
                f"A {student.family} has BatchNorm, whose statistics of a few synthetic images are "
                "not those of real ones. Take an mlp or a convnet."
            )
            yield "/student/network/family", "batch_norm", detail
