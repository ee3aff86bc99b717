"""The shape that methods on logits share: one stage, the labels, and a soft term of their own."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from workers.engine.bench import Bench
from workers.engine.losses import hard_loss
from workers.engine.stages import Batch, Clock, Plan, Terms
from workers.methods.observe import accuracy

if TYPE_CHECKING:
    from collections.abc import Sequence

Soft = Callable[[Tensor, "Sequence[Tensor]", Tensor | None, Clock], tuple[Tensor, Terms]]
"""From the student's logits (N x C), each teacher's, the labels and the clock to what is added to
the loss, and what is logged beside it."""


def taught(bench: Bench, soft: Soft, *, hard_weight: float = 1.0, exact: bool = False) -> Plan:
    """One stage: hard_weight cross_entropy(z_s, y) + the soft term, of float32 targets where they
    must be `exact`."""
    student = bench.student()
    transfer = bench.transfer()
    targets = bench.soft_targets(transfer, exact=exact)

    def objective(batch: Batch, clock: Clock) -> Terms:
        teachers = targets(batch)
        logits = student(batch.inputs)
        loss, terms = soft(logits, teachers, batch.labels, clock)
        if batch.labels is not None:
            hard = hard_loss(logits, batch.labels)
            if hard_weight > 0:
                loss = loss + hard_weight * hard
            terms |= {"hard_loss": hard, "accuracy": accuracy(logits, batch.labels)}
        return {"loss": loss, **terms}

    return (yield bench.stage(student, objective, transfer, targets=targets))
