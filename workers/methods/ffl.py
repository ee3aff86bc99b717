"""Kim, Hyun, Chung and Kwak 2019, "Feature fusion for online mutual knowledge distillation",
1904.09058."""

import torch
from torch import Tensor, nn

from app.spec.methods import FFL
from workers.engine.bench import Bench
from workers.engine.branch_losses import ffl_loss
from workers.engine.stages import Plan
from workers.methods.branches import Split, branched, branched_stage, objective_of, rise
from workers.methods.registry import plan
from workers.networks.base import GlobalMean


class Fusion(nn.Module):
    """Concatenation, depthwise 3 x 3 BN ReLU, 1 x 1 BN ReLU, pooling, linear: N x classes.

    Features without height and width, those of dense layers, are maps of one pixel.
    """

    def __init__(self, shapes: Split) -> None:
        each = shapes.features[0].shape[1]
        all_ = each * len(shapes.features)
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(all_, all_, 3, padding=1, groups=all_, bias=False),
            nn.BatchNorm2d(all_),
            nn.ReLU(inplace=True),
            nn.Conv2d(all_, each, 1, bias=False),
            nn.BatchNorm2d(each),
            nn.ReLU(inplace=True),
            GlobalMean(),
            nn.Linear(each, shapes.logits[0].shape[1]),
        )

    def forward(self, split: Split) -> Tensor:
        maps = [one if one.ndim == 4 else one[:, :, None, None] for one in split.features]
        logits: Tensor = self.layers(torch.cat(maps, dim=1))
        return logits


@plan.register
def ffl(method: FFL, bench: Bench) -> Plan:
    """One stage: the fused classifier teaches the branches, their ensemble teaches it."""
    trainee = branched(bench, method.branches, Fusion)
    objective = objective_of(
        trainee,
        lambda logits, fused, labels, clock: ffl_loss(
            logits,
            fused,
            labels,
            temperature=method.temperature,
            rise=rise(method.ramp_epochs, clock),
        ),
    )
    return (yield branched_stage(bench, trainee, objective))
