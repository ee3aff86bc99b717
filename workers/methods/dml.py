"""Zhang, Xiang, Hospedales and Lu 2018, "Deep mutual learning", 1706.00384."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from app.spec.methods import DML
from workers.engine.bench import Bench, Targets
from workers.engine.evaluate import statistics_kept
from workers.engine.losses import hard_loss, kl_divergence, log_soften, log_soften_ensemble
from workers.engine.stages import Batch, Clock, Plan, Terms, Turn
from workers.methods.cohort import called, cohort, cohort_stage
from workers.methods.observe import accuracy
from workers.methods.registry import plan


@plan.register
def dml(method: DML, bench: Bench) -> Plan:
    """One stage: on every batch the peers are updated in turn, each towards the others' latest."""
    trainee = cohort(bench)
    transfer = bench.transfer()
    taught = method.soft_weight > 0 and bench.taught
    targets = bench.soft_targets(transfer) if taught else None
    turns = mutual_turns(method, trainee.networks, targets)
    return (yield cohort_stage(bench, trainee, turns, transfer, targets))


def mutual_turns(method: DML, networks: Sequence[nn.Module], targets: Targets | None) -> list[Turn]:
    """The paper's algorithm 1: a turn a peer.

    The first turn asks all peers for their logits; each later one only that peer which was just
    updated, since the others have not changed.
    """
    logits: list[Tensor] = []

    def objective(k: int, batch: Batch, _clock: Clock) -> Terms:
        if k == 0:
            logits[:] = [network(batch.inputs) for network in networks]
        else:
            with torch.no_grad(), statistics_kept(networks[k - 1]):
                logits[k - 1] = networks[k - 1](batch.inputs)
        return mutual_terms(method, logits, k, batch, targets(batch) if targets else ())

    return [
        Turn(list(network.parameters()), partial(objective, k), called(k))
        for k, network in enumerate(networks)
    ]


def mutual_terms(
    method: DML, logits: Sequence[Tensor], k: int, batch: Batch, teachers: Sequence[Tensor]
) -> Terms:
    """Peer k's loss, equation 5: CE + w_p T^2 / (K - 1) sum over l of KL(p_l || p_k), p_l held
    fixed; and w_s T_s^2 KL(p_teacher || p_k) where there is a teacher."""
    assert batch.labels is not None  # noqa: S101  (refused before the job was queued)
    own = logits[k]
    log_q = log_soften(own, method.temperature)
    others = [z.detach() for number, z in enumerate(logits) if number != k]
    soft = torch.stack(
        [kl_divergence(log_soften(z, method.temperature), log_q) for z in others]
    ).mean()
    hard = hard_loss(own, batch.labels)
    loss = hard + method.peer_weight * method.temperature**2 * soft
    terms = {
        "soft_loss": soft,
        "hard_loss": hard,
        "accuracy": accuracy(own, batch.labels),
        "agreement": accuracy(own, log_soften_ensemble(others, 1.0).argmax(dim=1)),
    }
    if teachers:
        at = method.teacher_temperature
        taught = kl_divergence(log_soften_ensemble(teachers, at), log_soften(own, at))
        loss = loss + method.soft_weight * at**2 * taught
        terms["teacher_loss"] = taught
    return {"loss": loss, **terms}
