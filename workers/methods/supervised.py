"""Training on the labels alone."""

from app.spec.methods import Supervised
from workers.engine.bench import Bench
from workers.engine.losses import hard_loss
from workers.engine.stages import Batch, Clock, Plan, Terms
from workers.methods.observe import accuracy
from workers.methods.registry import plan


@plan.register
def supervised(method: Supervised, bench: Bench) -> Plan:
    """One stage: cross-entropy with the (smoothed) labels."""
    student = bench.student()

    def objective(batch: Batch, _clock: Clock) -> Terms:
        assert batch.labels is not None  # noqa: S101  (refused before the job was queued)
        logits = student(batch.inputs)
        loss = hard_loss(logits, batch.labels, method.label_smoothing)
        return {"loss": loss, "hard_loss": loss, "accuracy": accuracy(logits, batch.labels)}

    return (yield bench.stage(student, objective, bench.transfer()))
