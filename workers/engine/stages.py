"""What a plan is made of: stages, and what the loop tells them of time."""

import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from app.spec.job import Select
from app.spec.training import Training

if TYPE_CHECKING:
    from workers.engine.transfer import Transfer
    from workers.networks.preprocess import Preprocessed


def mix(*parts: int | str) -> int:
    """A seed in [0, 2^63) that depends on every part, and on nothing else."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class Clock:
    """Where in its stage a step stands."""

    seed: int
    stage: int
    """Counted within its plan, so that a student and its baseline see the same randomness."""
    step: int
    steps: int
    steps_per_epoch: int
    epochs: int

    @property
    def epoch(self) -> float:
        """Epochs done before this step, with fraction."""
        return self.step / self.steps_per_epoch

    def generator(self) -> torch.Generator:
        """Random choices of this step alone: a resumed run repeats them."""
        return torch.Generator().manual_seed(mix("step", self.seed, self.stage, self.step))


@dataclass(frozen=True)
class Batch:
    """N examples of a transfer set, as one view of them."""

    inputs: Tensor
    """As stored (N x D, N x H x W or N x H x W x C), augmented; networks preprocess themselves."""
    labels: Tensor | None
    """N class indices."""
    index: Tensor
    """N positions in the transfer set."""
    epoch: int


Terms = dict[str, Tensor]
Objective = Callable[[Any, Clock], Terms]
"""Named scalar terms of a batch (or of a tuple of batches, where the transfer set gives those).
`loss` is what is minimised; the others are logged beside it."""


@dataclass(frozen=True)
class Turn:
    """One of several updates run in order on the same batch."""

    parameters: Sequence[nn.Parameter]
    objective: Objective
    name: str = ""
    """Put before its terms' names in the log, which shows all turns side by side."""

    def logged(self, terms: Terms) -> Terms:
        """The terms, under this turn's name."""
        if not self.name:
            return terms
        return {f"{self.name}/{term}": value for term, value in terms.items()}


def _nothing(*_: object) -> None:
    return None


def _itself(trainee: nn.Module) -> nn.Module:
    return trainee


@dataclass(frozen=True)
class Stage:
    """What is trained, by which objective, on what, for how long."""

    name: str
    trainee: nn.Module
    """Owns every tensor that gets gradients, and as buffers all state that a restart needs."""
    objective: Objective
    transfer: "Transfer"
    training: Training
    index: int = 0
    """Counted within its plan."""
    select: Select = field(default_factory=Select)
    turns: Sequence[Turn] = ()
    """Alternating updates; empty is a single one by `objective`."""
    before_epoch: Callable[[int], None] = _nothing
    """Costly preparation without gradients, such as a pass of the teachers."""
    after_step: Callable[[Clock], None] = _nothing
    evaluate: Callable[[], dict[str, float]] | None = None
    """Metrics on the validation split, by name; None is a stage without any."""
    deliver: Callable[[nn.Module], nn.Module] = _itself
    """From the trainee with its selected weights to what the stage hands on."""
    parameter_groups: Callable[[], list[dict[str, Any]]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        return self.training.steps_per_epoch(len(self.transfer))

    @property
    def steps(self) -> int:
        return self.training.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class Made:
    """A student, and what is worth reporting beside it."""

    student: "Preprocessed"
    ensemble: Sequence["Preprocessed"] = ()
    """Networks whose mean probability is told."""
    full_precision: "Preprocessed | None" = None
    """What a quantised student was before."""


Plan = Generator[Stage, nn.Module, nn.Module | Made]
"""Yields stages, is sent what each delivered, and returns the student."""
