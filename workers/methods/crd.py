"""Tian, Krishnan and Isola 2020, "Contrastive representation distillation", 1910.10699."""

from dataclasses import replace
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.spec.methods import CRD
from workers.engine.bench import Bench
from workers.engine.contrast import Negatives
from workers.engine.feature_losses import contrast_loss
from workers.engine.losses import wide
from workers.engine.stages import Batch, Clock, Plan, Terms, mix
from workers.engine.taps import Features
from workers.methods.featured import joined, owned_by
from workers.methods.registry import plan
from workers.networks import seeded
from workers.networks.preprocess import Preprocessed


class Contrast(nn.Module):
    """The student, an embedding of either side, and what both remember of every example.

    Memories (K x dimensions) and the two constants Z are buffers: a resumed run needs them.
    """

    memory_t: Tensor
    memory_s: Tensor
    z: Tensor

    def __init__(
        self, student: Preprocessed, widths: tuple[int, int], examples: int, method: CRD
    ) -> None:
        """`widths` of the teacher's and the student's features; K `examples`."""
        super().__init__()
        self.student = student
        self.embed_t, self.embed_s = (nn.Linear(width, method.dimensions) for width in widths)
        side = (3 / method.dimensions) ** 0.5  # uniform in +- this: of length 1 on average
        for name in ("memory_t", "memory_s"):
            memory = torch.empty(examples, method.dimensions).uniform_(-side, side)
            self.register_buffer(name, memory)
        self.register_buffer("z", torch.zeros(2))
        self.tau, self.momentum = method.tau, method.momentum
        self._seen: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def loss(self, theirs: Tensor, own: Tensor, index: Tensor, negatives: Tensor) -> Tensor:
        """Both ways: the student against the teacher's memory, and the other way round.

        `theirs` and `own` N x width, `index` N positions, `negatives` N x M positions.
        """
        v_t = F.normalize(self.embed_t(wide(theirs)), dim=1)
        v_s = F.normalize(self.embed_s(wide(own)), dim=1)
        chosen = torch.cat([index[:, None], negatives], dim=1)
        # All K products are one matrix product: less work than gathering N x M memories.
        scores = [
            (v @ memory.T / self.tau).gather(1, chosen)
            for v, memory in ((v_s, self.memory_t), (v_t, self.memory_s))
        ]
        examples = len(self.memory_t)
        first = torch.stack([score.detach().exp().mean() for score in scores]) * examples
        z = torch.where(self.z > 0, self.z, first)
        self._seen = (index, v_t.detach(), v_s.detach(), z)
        return torch.stack(
            [
                contrast_loss(score - constant.log(), examples=examples)
                for score, constant in zip(scores, z, strict=True)
            ]
        ).sum()

    @torch.no_grad()
    def remember(self) -> None:
        """Moves the batch's memories towards its embeddings, and keeps Z."""
        if self._seen is None:
            return
        index, v_t, v_s, z = self._seen
        for memory, v in ((self.memory_t, v_t), (self.memory_s, v_s)):
            mixed = self.momentum * memory[index] + (1 - self.momentum) * v
            memory[index] = F.normalize(mixed, dim=1)
        self.z.copy_(z)
        self._seen = None


@plan.register
def crd(method: CRD, bench: Bench) -> Plan:
    """One stage: CE + beta (the contrasts of both sides). The teacher's embedding trains too."""
    student, transfer = bench.student(), bench.transfer()
    teacher = bench.teachers[0].network.network.spec
    ((theirs_name, own_name),) = method.pairs(teacher, bench.job.student.network)
    widths = prod(teacher.taps[theirs_name]), prod(bench.job.student.network.taps[own_name])
    with seeded(mix("contrast", bench.seed)):
        trainee = Contrast(student, widths, len(transfer), method)
    trainee.to(bench.arithmetic.device)
    negatives = Negatives(transfer.labels, len(transfer), transfer.device)
    count = max(min(method.negatives, len(transfer) - 1), 1)

    def term(theirs: Features, own: Features, batch: Batch, clock: Clock) -> tuple[Tensor, Terms]:
        drawn = negatives.draw(batch.index, count, clock.generator())
        with torch.autocast(batch.inputs.device.type, enabled=False):
            loss = trainee.loss(theirs[0].flatten(1), own[0].flatten(1), batch.index, drawn)
        return method.beta * loss, {"contrast_loss": loss}

    stage = joined(bench, student, transfer, method, term)

    def after_step(clock: Clock) -> None:
        stage.after_step(clock)
        trainee.remember()

    return (yield replace(owned_by(trainee, stage, student), after_step=after_step))
