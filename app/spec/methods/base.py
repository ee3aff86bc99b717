"""What every method tells of itself."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from app.spec.base import Spec
from app.spec.networks import Network, NetworkSpec
from app.spec.quantization import Quantization

Flaw = tuple[str, str, str]
"""Pointer into the job, code, detail."""


class Method(Spec):
    """What every method tells of itself, beside its parameters."""

    title: ClassVar[str]
    paper: ClassVar[str | None]
    teachers: ClassVar[tuple[int, int | None]]
    """Fewest and most teachers; None is no bound."""
    compared: ClassVar[bool] = True
    """Whether students learn from more than their labels, so that a baseline tells something."""
    logits_alone: ClassVar[bool] = False
    """Whether all that it takes of its teachers are their logits on the transfer set."""
    makes_start: ClassVar[bool] = False
    """Whether the student's first weights are the method's to make."""

    @property
    def teacher_bounds(self) -> tuple[int, int | None]:
        """`teachers`, where parameters narrow them."""
        return self.teachers

    @property
    def quantization(self) -> Quantization | None:
        """What the method itself makes of its student's numbers."""
        return None

    @property
    def control(self) -> "Method | None":
        """What trains the matched baseline, without a teacher; None is the labels alone."""
        return None

    @property
    def needs_labels(self) -> bool:
        """Whether every transfer example must carry a label."""
        return True

    @property
    def batch_norm(self) -> bool:
        """Whether it trains a BatchNorm over vectors, or maps of one pixel, of its own."""
        return False

    @property
    def whole_after_epochs(self) -> float:
        """Epochs of a stage after which every term of its loss has its full weight."""
        return 0.0

    @property
    def silent_with_two_classes(self) -> str | None:
        """Which term of the loss is a constant where there are two classes, and why."""
        return None

    def peers_of(self, student: NetworkSpec) -> tuple[NetworkSpec, ...]:  # noqa: ARG002
        """The whole networks that are trained beside the student, at the same time."""
        return ()

    def peer_pointer(self, index: int) -> str:
        """Where a job says what network a peer is."""
        return f"/method/networks/{index}"

    def stage_epochs(self, epochs: int) -> tuple[int, ...]:
        """Epochs of each of the plan's stages, in order, in a job of `epochs` epochs.

        Raises ValueError when that is too few for them.
        """
        return (epochs,)

    def flaws(self, student: Network, teachers: Sequence[Network]) -> Iterator[Flaw]:  # noqa: ARG002
        """What this method cannot do with these networks, as far as shapes tell."""
        yield from ()
