"""Furlanello, Lipton, Tschannen, Itti and Anandkumar 2018, "Born-again neural networks".

arXiv 1805.04770.
"""

from app.spec.methods import BornAgain
from workers.engine.bench import Bench, Targets
from workers.engine.logit_losses import confidence_weighted, permute_others
from workers.engine.losses import hard_loss, kl_divergence, log_soften, log_soften_ensemble
from workers.engine.stages import Batch, Clock, Made, Objective, Plan, Terms
from workers.methods.observe import accuracy
from workers.methods.registry import plan
from workers.networks.preprocess import Preprocessed


@plan.register
def born_again(method: BornAgain, bench: Bench) -> Plan:
    """A stage a generation, each taught by the one before; the last one is the student."""
    transfer = bench.transfer()
    targets = bench.soft_targets(transfer)
    born: list[Preprocessed] = []
    for number in range(method.generations):
        if born:
            targets = bench.soft_targets(transfer, [bench.teacher(born[-1])])
        student = bench.student(stage=number)
        is_last = number + 1 == method.generations
        stage = bench.stage(
            student,
            reborn(method, student, targets),
            transfer,
            name="" if is_last else f"generation/{number + 1}",
            index=number,
            targets=targets,
        )
        yield stage
        born.append(student)
    return Made(born[-1], ensemble=born)


def reborn(method: BornAgain, student: Preprocessed, targets: Targets) -> Objective:
    """What a generation learns of the one before it, by the treatment."""

    def objective(batch: Batch, clock: Clock) -> Terms:
        log_p = log_soften_ensemble(targets(batch), 1.0)
        logits = student(batch.inputs)
        log_q = log_soften(logits, 1.0)
        match method.treatment:
            case "cwtm":
                assert batch.labels is not None  # noqa: S101  (refused before the job was queued)
                loss = confidence_weighted(log_p, log_q, batch.labels)
            case "dkpp":
                loss = kl_divergence(permute_others(log_p, clock.generator()), log_q)
            case _:
                loss = kl_divergence(log_p, log_q)
        terms = {"soft_loss": loss, "agreement": accuracy(logits, log_p.argmax(dim=1))}
        if batch.labels is not None:
            hard = hard_loss(logits, batch.labels)
            if method.hard_weight > 0:
                loss = loss + method.hard_weight * hard
            terms |= {"hard_loss": hard, "accuracy": accuracy(logits, batch.labels)}
        return {"loss": loss, **terms}

    return objective
