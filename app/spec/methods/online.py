"""Students that teach each other while they train, or one generation after another."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.spec.methods.base import Method
from app.spec.networks import NetworkSpec


class DML(Method):
    """Deep mutual learning (Zhang et al. 2018, arXiv 1706.00384). A teacher is welcome, not needed.

    K peers learn together, in turn on every batch. Peer k's loss = cross_entropy(z_k, y) +
    peer_weight T^2 mean over the others l of KL(softmax(z_l / T) || softmax(z_k / T)), z_l held
    fixed; with teachers, + soft_weight T_t^2 KL(p_teacher || p_k) at T_t. The student is the first
    peer. Selection looks at the student alone.
    """

    title: ClassVar[str] = "Deep mutual learning"
    paper: ClassVar[str | None] = "arXiv:1706.00384"
    teachers: ClassVar[tuple[int, int | None]] = (0, None)
    logits_alone: ClassVar[bool] = True

    name: Literal["dml"] = "dml"
    peers: int = Field(default=2, ge=2, le=16)
    """K, counting the student."""
    networks: tuple[NetworkSpec, ...] = Field(default=(), max_length=15)
    """The other peers' networks; those not given are like the student's."""
    peer_weight: float = Field(default=1.0, gt=0, le=1000)
    """Weight of what the peers teach."""
    temperature: float = Field(default=1.0, ge=0.01, le=1000)
    """T among peers; the paper's is 1."""
    soft_weight: float = Field(default=1.0, ge=0, le=1000)
    """Weight of what the teachers teach, where there are any."""
    teacher_temperature: float = Field(default=4.0, ge=0.01, le=1000)
    """T_t."""

    @model_validator(mode="after")
    def _no_more_networks_than_peers(self) -> Self:
        if len(self.networks) > self.peers - 1:
            raise ValueError(
                f"{self.peers} peers are the student and {self.peers - 1} more, but networks "
                f"names {len(self.networks)}"
            )
        return self

    def peers_of(self, student: NetworkSpec) -> tuple[NetworkSpec, ...]:
        return (*self.networks, *(student,) * (self.peers - 1 - len(self.networks)))


class BornAgain(Method):
    """Born-again networks (Furlanello et al. 2018, arXiv 1805.04770).

    Each generation is a fresh network taught by the one before it, the first by the job's teachers
    (in the paper a network of the same kind: make it with `supervised`). p and q are the softmax at
    1 of the generation before and this one. Treatments: `kd` is KL(p || q); `cwtm` (confidence
    weighted by teacher max) is the sum over the batch of w cross_entropy(q, y), w = max p / sum of
    max p; `dkpp` (dark knowledge with permuted predictions) is KL(p' || q), p' being p with its
    maximum kept in place and the rest permuted, anew for each example and step. hard_weight
    cross_entropy(q, y) is added. The last generation is the student, at the cost of all of them.
    """

    title: ClassVar[str] = "Born-again networks"
    paper: ClassVar[str | None] = "arXiv:1805.04770"
    teachers: ClassVar[tuple[int, int | None]] = (1, None)
    logits_alone: ClassVar[bool] = True
    makes_start: ClassVar[bool] = True

    name: Literal["born_again"] = "born_again"
    generations: int = Field(default=3, ge=1, le=32)
    """How many are trained, each for the job's epochs."""
    treatment: Literal["kd", "cwtm", "dkpp"] = "kd"
    """What is learned of the generation before."""
    hard_weight: float = Field(default=0.0, ge=0, le=1000)
    """Weight of the labels beside `kd` and `dkpp`: 1 is the paper's BAN+L. `cwtm` has them."""

    @model_validator(mode="after")
    def _labels_once(self) -> Self:
        if self.treatment == "cwtm" and self.hard_weight > 0:
            raise ValueError("cwtm learns the labels already: it takes no hard_weight")
        return self

    @property
    def needs_labels(self) -> bool:
        return self.treatment == "cwtm" or self.hard_weight > 0

    def stage_epochs(self, epochs: int) -> tuple[int, ...]:
        return (epochs,) * self.generations


class Codistillation(Method):
    """Codistillation, online distillation at scale (Anil et al. 2018, arXiv 1804.03235).

    K workers train copies of the student from weights of their own, each on its own shard of the
    transfer set, and see of each other only copies made every `exchange_steps` steps. Worker k's
    loss = cross_entropy(z_k, y), and after the burn-in + weight T^2 KL(mean over the others of
    softmax(stale z_l / T) || softmax(z_k / T)). All workers are simulated in one process here. Each
    takes as many steps as a plain training on the whole set would. The student is the first.
    """

    title: ClassVar[str] = "Codistillation"
    paper: ClassVar[str | None] = "arXiv:1804.03235"
    teachers: ClassVar[tuple[int, int | None]] = (0, 0)

    name: Literal["codistillation"] = "codistillation"
    peers: int = Field(default=2, ge=2, le=16)
    """K, counting the student's."""
    shards: Literal["disjoint", "shared"] = "disjoint"
    """A K-th of the transfer set for each worker, dealt by the seed, or all of it for everyone."""
    burn_in_epochs: float = Field(default=1.0, ge=0, le=10_000)
    """Epochs on the labels alone; the first exchange is at their end."""
    exchange_steps: int = Field(default=50, ge=1, le=1_000_000)
    """Steps between exchanges (the paper's language model: 50)."""
    weight: float = Field(default=1.0, gt=0, le=1000)
    """Weight of what the others predict."""
    temperature: float = Field(default=1.0, ge=0.01, le=1000)
    """T."""

    @property
    def whole_after_epochs(self) -> float:
        return self.burn_in_epochs

    def peers_of(self, student: NetworkSpec) -> tuple[NetworkSpec, ...]:
        return (student,) * (self.peers - 1)
