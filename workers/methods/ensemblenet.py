"""Li, Ng and Natsev 2019, "EnsembleNet: end-to-end optimization of multi-headed models",
1905.09979."""

from torch import Tensor, nn

from app.spec.methods import EnsembleNet
from workers.engine.bench import Bench
from workers.engine.branch_losses import ensemblenet_loss, mean_logits
from workers.engine.stages import Plan
from workers.methods.branches import Split, branched, branched_stage, objective_of
from workers.methods.registry import plan


class Mean(nn.Module):
    """The mean of the heads' logits, N x C."""

    def __init__(self, _shapes: Split) -> None:
        super().__init__()

    def forward(self, split: Split) -> Tensor:
        return mean_logits(split.logits)


@plan.register
def ensemblenet(method: EnsembleNet, bench: Bench) -> Plan:
    """One stage: the heads and their mean learn the labels, and each head from the mean."""
    trainee = branched(bench, method.heads, Mean)
    objective = objective_of(
        trainee,
        lambda logits, _ensemble, labels, _clock: ensemblenet_loss(
            logits, labels, weight=method.weight
        ),
    )
    return (yield branched_stage(bench, trainee, objective))
