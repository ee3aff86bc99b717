"""Learning from a teacher's inner layers. The teacher runs live, on the student's own views."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from app.spec.base import named
from app.spec.methods.layers import FeatureMethod, Layer, Layers
from app.spec.methods.pairing import Taps, common, maps
from app.spec.schedules import Temperature, Weight, WideRamp
from app.spec.shapes import Shape
from app.spec.training import Adam, OptimizerSpec


class TwoStages(FeatureMethod):
    """Methods that first teach inner layers and then the task, within the job's epochs."""

    hint_epochs: int | None = Field(default=None, ge=1, le=10_000)
    """Epochs of the first stage, taken from the job's, so that student and baseline train equally
    long; null is a third of them. Each stage runs the job's schedule, shortened to its length."""
    hint_optimizer: OptimizerSpec = Adam()
    """Of the first stage. Its loss is a sum over a layer's units or pairs of channels, so its size
    differs from pair to pair by orders of magnitude, to which Adam is indifferent."""

    @field_validator("hint_optimizer", mode="before")
    @classmethod
    def _adam_by_default(cls, value: Any) -> Any:
        return named(value, "adam")

    @property
    def staged(self) -> bool:
        """Whether there are two stages, as the paper has it."""
        return True

    def stage_epochs(self, epochs: int) -> tuple[int, ...]:
        if not self.staged:
            return (epochs,)
        hint = max(epochs // 3, 1) if self.hint_epochs is None else self.hint_epochs
        if hint >= epochs:
            raise ValueError(
                f"{self.title} has two stages: of {epochs} epochs the first would take {hint}, "
                "and none would be left for the second"
            )
        return (hint, epochs - hint)


class FitNets(TwoStages):
    """Hints from a middle layer (Romero et al. 2015, arXiv 1412.6550).

    Stage 1 (equation 3): 1/2 ||u_h(x) - r(v_g(x))||^2, where u_h is the teacher's hint layer, v_g
    the student's guided layer and r a regressor (a convolution that makes the maps equally large,
    or a linear layer; with the ReLU that u_h has); the student is trained up to v_g. Stage 2
    (equation 2): cross_entropy(z_s, y) + lambda KL(softmax(z_t / tau) || softmax(z_s / tau)).
    With `one_stage`: cross_entropy(z_s, y) + hint_weight mean (u_h - r(v_g))^2, as the CIFAR-100
    table of Tian et al. 2020 ran it.
    """

    title: ClassVar[str] = "FitNets"
    paper: ClassVar[str | None] = "arXiv:1412.6550"
    fields: ClassVar[tuple[str, str]] = ("hint", "guided")

    name: Literal["fitnets"] = "fitnets"
    hint: Layer | None = None
    """The teacher's layer; null is the middle one."""
    guided: Layer | None = None
    """The student's layer, no smaller in height and width; null is where the hint stands."""
    one_stage: bool = False
    """Hint and labels together, without a soft term."""
    hint_weight: float = Field(default=100.0, gt=0, le=1e6)
    """Of the mean squared error (`one_stage` only)."""
    temperature: Temperature = 3.0
    """tau (stage 2). As in the paper, the soft term has no factor tau^2."""
    soft_weight: Weight = WideRamp(start=4.0, end=1.0)
    """lambda (stage 2). The paper lowers it linearly from 4 to 1."""

    @property
    def staged(self) -> bool:
        return not self.one_stage

    @property
    def batch_norm(self) -> bool:
        return self.one_stage

    def favourites(self, teacher: Taps, student: Taps) -> list[str]:
        names = common(teacher, student)
        return names[len(names) // 2 :][:1]

    def mismatch(self, teacher: Shape, student: Shape) -> str | None:
        if len(teacher) != len(student):
            return "the regressor turns maps into maps and vectors into vectors"
        if any(own < theirs for own, theirs in zip(student[1:], teacher[1:], strict=True)):
            return "the guided layer must be at least as high and wide as the hint"
        return None


class FSP(TwoStages):
    """Flow of the solution procedure (Yim, Joo, Bae and Kim 2017, "A gift from knowledge
    distillation", CVPR).

    Layers that follow each other make a Gram matrix, G = 1 / (h w) sum over positions of F1 F2^T
    (equation 1; the larger map is max-pooled to the smaller one's size). Stage 1 (equation 2):
    sum over pairs of ||G_t - G_s||^2, squared Frobenius, averaged over the batch. Stage 2:
    cross_entropy(z_s, y). Layers need as many channels in student and teacher.
    """

    title: ClassVar[str] = "Flow of the solution procedure"
    paper: ClassVar[str | None] = "doi:10.1109/CVPR.2017.754"
    fewest: ClassVar[int] = 2

    name: Literal["fsp"] = "fsp"
    teacher_layers: Layers | None = Field(default=None, max_length=64)
    """In order; each makes a matrix with the next one. Null is all feature maps, or all hidden
    layers where one of the networks has no maps."""
    student_layers: Layers | None = Field(default=None, max_length=64)
    """In the same order. Null is where the teacher's stand."""

    def favourites(self, teacher: Taps, student: Taps) -> list[str]:
        return common(teacher, student)

    def mismatch(self, teacher: Shape, student: Shape) -> str | None:
        if len(teacher) != len(student):
            return "maps and vectors make no matrices that could be compared"
        if teacher[0] != student[0]:
            return "their Gram matrices differ in size unless the channels are as many"
        return None


class Joined(FeatureMethod):
    """Methods whose term joins the labels' (and, if wanted, the soft targets') in one stage."""

    hard_weight: float = Field(default=1.0, ge=0, le=1000)
    """Of the cross-entropy with the labels; with 0 no labels are needed."""
    soft_weight: float = Field(default=0.0, ge=0, le=1000)
    """Of T^2 KL(p_T || q_T) as in `kd`, added when above 0."""
    temperature: Temperature = 4.0
    """T of the soft term. A number or a ramp."""

    @property
    def needs_labels(self) -> bool:
        return self.hard_weight > 0


class AT(Joined):
    """Attention transfer (Zagoruyko and Komodakis 2017, arXiv 1612.03928), activation-based.

    loss = cross_entropy(z_s, y) + beta sum over layers of mean (Q_s - Q_t)^2, where Q is the mean
    over channels of the squared activations, flattened and divided by its L2 norm (equation 2); the
    mean runs over examples and positions, as in the authors' code. The larger map is average-pooled
    to the smaller one's size.
    """

    title: ClassVar[str] = "Attention transfer"
    paper: ClassVar[str | None] = "arXiv:1612.03928"

    name: Literal["at"] = "at"
    beta: float = Field(default=1000.0, gt=0, le=1e6)
    teacher_layers: Layers | None = Field(default=None, max_length=64)
    """Layers with feature maps. Null is the ends of the stages: all but the first where there are
    three or more."""
    student_layers: Layers | None = Field(default=None, max_length=64)
    """As many, in the same order. Null is where the teacher's stand."""

    def favourites(self, teacher: Taps, student: Taps) -> list[str]:
        names = maps(teacher) if maps(student) else []
        return names[1:] if len(names) > 2 else names

    def mismatch(self, teacher: Shape, student: Shape) -> str | None:
        if len(teacher) != 3 or len(student) != 3:
            return "attention is over the positions of feature maps"
        return None


class Penultimate(Joined):
    """Methods on one vector an example: what the classifier reads, unless a layer is named."""

    fields: ClassVar[tuple[str, str]] = ("teacher_layer", "student_layer")

    teacher_layer: Layer | None = None
    """Flattened if it has maps. Null is the last one, which the classifier reads."""
    student_layer: Layer | None = None
    """Flattened if it has maps. Null is the last one, which the classifier reads."""

    def favourites(self, teacher: Taps, student: Taps) -> list[str]:
        return list(teacher)[-1:] if student else []

    def counterpart(self, name: str, here: Taps, there: Taps) -> str | None:  # noqa: ARG002
        return list(there)[-1] if there else None

    def mismatch(self, teacher: Shape, student: Shape) -> str | None:  # noqa: ARG002
        return None


class RKD(Penultimate):
    """Relational knowledge distillation (Park, Kim, Lu and Cho 2019, arXiv 1904.05068).

    loss = cross_entropy(z_s, y) + w_d Huber(distances between examples, divided by the batch's
    mean; equation 5) + w_a Huber(cosines of the angles of triplets; equation 8), student against
    teacher, averaged over all N^2 pairs and N^3 triplets of a batch. Memory grows with the cube of
    the batch size: keep it at some hundred.
    """

    title: ClassVar[str] = "Relational knowledge distillation"
    paper: ClassVar[str | None] = "arXiv:1904.05068"

    name: Literal["rkd"] = "rkd"
    distance_weight: float = Field(default=25.0, ge=0, le=1e6)
    """w_d."""
    angle_weight: float = Field(default=50.0, ge=0, le=1e6)
    """w_a."""

    @model_validator(mode="after")
    def _some_relation(self) -> Self:
        if self.distance_weight == 0 == self.angle_weight:
            raise ValueError("distance_weight and angle_weight cannot both be 0")
        return self


class CRD(Penultimate):
    """Contrastive representation distillation (Tian, Krishnan and Isola 2020, arXiv 1910.10699).

    loss = cross_entropy(z_s, y) + beta (contrast of the student with a memory of the teacher + the
    contrast of the teacher with a memory of the student). An anchor's score with an example is
    s = exp(a . b / tau) / Z, a and b linear embeddings of unit length (the teacher's learns too), Z
    fixed by the first batch; of one positive and M negatives (of other classes where there are
    labels) out of K examples the contrast is -log(s / (s + M / K)) - sum over negatives of
    log((M / K) / (s + M / K)) (equations 17 and 18).
    """

    title: ClassVar[str] = "Contrastive representation distillation"
    paper: ClassVar[str | None] = "arXiv:1910.10699"

    name: Literal["crd"] = "crd"
    beta: float = Field(default=0.8, gt=0, le=1000)
    dimensions: int = Field(default=128, ge=2, le=4096)
    """Of the embeddings."""
    negatives: int = Field(default=16_384, ge=1, le=1_000_000)
    """M, drawn with replacement for each example; no more than there are examples."""
    tau: float = Field(default=0.07, ge=0.01, le=10)
    momentum: float = Field(default=0.5, ge=0, lt=1)
    """Of the memory: what is kept of an example's embedding when it is seen again."""
