"""Lan, Zhu and Gong 2018, "Knowledge distillation by on-the-fly native ensemble", 1806.04606."""

from torch import Tensor, nn

from app.spec.methods import ONE
from workers.engine.bench import Bench
from workers.engine.branch_losses import gated, one_loss
from workers.engine.stages import Plan
from workers.methods.branches import Split, branched, branched_stage, objective_of, rise
from workers.methods.registry import plan
from workers.networks.linear import Linear


class Gate(nn.Module):
    """softmax(ReLU(BN(FC(pooled trunk)))): N x m weights, and by them z_e, N x C."""

    def __init__(self, shapes: Split) -> None:
        super().__init__()
        branches = len(shapes.logits)
        self.fc = Linear(shapes.trunk.shape[1], branches)
        self.bn = nn.BatchNorm1d(branches)

    def weights(self, trunk: Tensor) -> Tensor:
        pooled = trunk.mean(dim=(2, 3)) if trunk.ndim == 4 else trunk
        scores: Tensor = self.bn(self.fc(pooled).float())
        return scores.relu().softmax(dim=1)

    def forward(self, split: Split) -> Tensor:
        return gated(split.logits, self.weights(split.trunk))


@plan.register
def one(method: ONE, bench: Bench) -> Plan:
    """One stage: branches and their gated ensemble learn the labels, and the branches from it."""
    trainee = branched(bench, method.branches, Gate)
    objective = objective_of(
        trainee,
        lambda logits, ensemble, labels, clock: one_loss(
            logits,
            ensemble,
            labels,
            temperature=method.temperature,
            rise=rise(method.ramp_epochs, clock),
        ),
    )
    return (yield branched_stage(bench, trainee, objective))
