"""Chen, Goodfellow and Shlens 2016, "Net2Net: accelerating learning via knowledge transfer",
1511.05641."""

from dataclasses import replace

import torch

from app.spec.methods import Net2Net
from app.spec.problems import Refused
from workers.engine.bench import Bench
from workers.engine.losses import hard_loss
from workers.engine.stages import Batch, Clock, Plan, Terms, mix
from workers.engine.transfer import evenly
from workers.methods.observe import accuracy
from workers.methods.registry import plan
from workers.networks.growth import grow
from workers.networks.preprocess import Preprocessed
from workers.networks.quantized import floats

STATISTICS = 512
"""Examples that give a new BatchNorm its mean and variance."""


@plan.register
def net2net(method: Net2Net, bench: Bench) -> Plan:
    """One stage: from the teacher's function on, cross-entropy at a fraction of the rate."""
    transfer = bench.transfer()
    seen = transfer.inputs[evenly(len(transfer), STATISTICS)]
    student = grown(method, bench, seen)

    def objective(batch: Batch, _clock: Clock) -> Terms:
        assert batch.labels is not None  # noqa: S101  (refused before the job was queued)
        logits = student(batch.inputs)
        loss = hard_loss(logits, batch.labels)
        return {"loss": loss, "hard_loss": loss, "accuracy": accuracy(logits, batch.labels)}

    stage = bench.stage(student, objective, transfer)
    group = {"params": list(student.parameters()), "scale": method.lr_scale}
    return (yield replace(stage, parameter_groups=lambda: [group]))


def grown(method: Net2Net, bench: Bench, inputs: torch.Tensor) -> Preprocessed:
    """The student with the teacher's function. Raises Refused where they preprocess unlike."""
    teacher = bench.teachers[0].network
    spec = bench.job.student.network
    seed = mix("weights", bench.seed, 0)
    examples = teacher.normalise(inputs)
    network = grow(floats(teacher.network), spec, examples, noise=method.noise, seed=seed)
    student = bench.place(Preprocessed(network, **bench.preprocess))
    for mine, its in ((student.factor, teacher.factor), (student.shift, teacher.shift)):
        if not torch.allclose(mine, its, rtol=1e-4, atol=1e-5):
            raise Refused.invalid(
                "preprocess_mismatch",
                "The teacher normalises its inputs in another way than this data set does, so that "
                "no student of this data set can start as the teacher's function.",
                hint="Register the data set with the teacher's mean and std under `normalize`.",
                pointer="/teachers/0",
            )
    return student
