"""Anil et al. 2018, "Large scale distributed neural network training through online distillation".

arXiv 1804.03235, algorithm 1.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Self, cast

import torch
from torch import Tensor, nn

from app.spec.methods import Codistillation
from workers.engine.bench import Bench
from workers.engine.losses import hard_loss, kl_divergence, log_soften, log_soften_ensemble
from workers.engine.shards import Shards
from workers.engine.stages import Batch, Clock, Plan, Terms, Turn
from workers.methods.cohort import Cohort, called, cohort, cohort_stage
from workers.methods.observe import accuracy
from workers.methods.registry import plan
from workers.networks.preprocess import Preprocessed


@plan.register
def codistillation(method: Codistillation, bench: Bench) -> Plan:
    """One stage: workers on shards of their own, taught by stale copies of each other."""
    trainee = Workers(cohort(bench).networks)
    disjoint = method.shards == "disjoint"
    transfer = Shards(bench.transfer(), method.peers, bench.seed, disjoint=disjoint)
    turns = [
        Turn(list(network.parameters()), partial(worker_terms, method, trainee, k), called(k))
        for k, network in enumerate(trainee.networks)
    ]

    def after_step(clock: Clock) -> None:
        trainee.constrain()
        if is_exchange(method, clock):
            trainee.exchange()

    stage = cohort_stage(bench, trainee, turns, transfer)
    return (yield replace(stage, after_step=after_step))


class Stale(nn.ModuleList):
    """Copies that predict and never learn: frozen, and in eval mode for good."""

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        return super().train(False)


class Workers(Cohort):
    """Networks that learn, and what each was like at the last exchange."""

    def __init__(self, peers: Sequence[Preprocessed]) -> None:
        super().__init__(peers)
        self.stale = Stale(copy.deepcopy(peer).requires_grad_(False) for peer in peers)
        self.stale.eval()

    @torch.no_grad()
    def others(self, k: int, inputs: Tensor) -> list[Tensor]:
        """The stale logits of every worker but k."""
        return [
            cast(Tensor, network(inputs))
            for number, network in enumerate(self.stale)
            if number != k
        ]

    def exchange(self) -> None:
        """Everyone's weights become known to the others."""
        for old, new in zip(self.stale, self.peers, strict=True):
            old.load_state_dict(new.state_dict())


def burn_in_steps(method: Codistillation, clock: Clock) -> int:
    return round(method.burn_in_epochs * clock.steps_per_epoch)


def is_exchange(method: Codistillation, clock: Clock) -> bool:
    """Whether this step is followed by an exchange: at the burn-in's end, then every n steps."""
    since = clock.step + 1 - burn_in_steps(method, clock)
    return since >= 0 and since % method.exchange_steps == 0


def worker_terms(
    method: Codistillation, trainee: Workers, k: int, batches: Sequence[Batch], clock: Clock
) -> Terms:
    """Worker k's loss on its own batch; while it burns in `soft_loss` and `agreement` are 0."""
    batch = batches[k]
    assert batch.labels is not None  # noqa: S101  (refused before the job was queued)
    logits = trainee.networks[k](batch.inputs)
    hard = hard_loss(logits, batch.labels)
    loss, soft, agreement = hard, hard.new_zeros(()), hard.new_zeros(())
    if clock.step >= burn_in_steps(method, clock):
        log_p = log_soften_ensemble(trainee.others(k, batch.inputs), method.temperature)
        soft = kl_divergence(log_p, log_soften(logits, method.temperature))
        agreement = accuracy(logits, log_p.argmax(dim=1))
        loss = hard + method.weight * method.temperature**2 * soft
    return {
        "loss": loss,
        "soft_loss": soft,
        "hard_loss": hard,
        "accuracy": accuracy(logits, batch.labels),
        "agreement": agreement,
    }
