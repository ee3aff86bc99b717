"""Yim, Joo, Bae and Kim 2017, "A gift from knowledge distillation", CVPR."""

from app.spec.methods import FSP
from workers.engine.bench import Bench
from workers.engine.feature_losses import fsp_loss
from workers.engine.losses import hard_loss
from workers.engine.stages import Batch, Clock, Plan, Terms
from workers.methods.hints import hint_stage, task_stage
from workers.methods.observe import accuracy
from workers.methods.registry import plan


@plan.register
def fsp(method: FSP, bench: Bench) -> Plan:
    """The Gram matrices of neighbouring layers first, then the labels alone."""
    student, transfer = bench.student(), bench.transfer()
    yield hint_stage(bench, method, student, transfer, fsp_loss, trainee=student)

    def objective(batch: Batch, _clock: Clock) -> Terms:
        assert batch.labels is not None  # noqa: S101  (refused before the job was queued)
        logits = student(batch.inputs)
        loss = hard_loss(logits, batch.labels)
        return {"loss": loss, "hard_loss": loss, "accuracy": accuracy(logits, batch.labels)}

    return (yield task_stage(bench, method, bench.stage(student, objective, transfer)))
