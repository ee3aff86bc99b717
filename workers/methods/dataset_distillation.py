"""Wang, Zhu, Torralba and Efros 2018, "Dataset distillation", 1811.10959."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.spec.methods import DatasetDistillation
from app.spec.networks import Network
from workers.engine.bench import Bench
from workers.engine.evaluate import predict, validation_metrics
from workers.engine.losses import hard_loss
from workers.engine.stages import Batch, Clock, Plan, Terms, mix
from workers.engine.unrolled import Weights, descend, weights_of
from workers.methods.observe import accuracy
from workers.methods.registry import plan
from workers.networks import build


@plan.register
def dataset_distillation(method: DatasetDistillation, bench: Bench) -> Plan:
    """One stage over images and rates; the student is what they make of its first weights."""
    spec = bench.job.student.network
    student = bench.student()
    network = student.network.eval()  # no dropout: the same images must make the same student
    own = weights_of(network)
    synthetic = Synthetic(method, spec, bench.seed).to(bench.arithmetic.device)

    def objective(batch: Batch, clock: Clock) -> Terms:
        assert batch.labels is not None  # noqa: S101  (refused before the job was queued)
        start = own
        if method.initialisation == "random":
            fresh = build(spec, seed=mix("theta", clock.seed, clock.step))
            start = weights_of(fresh.to(bench.arithmetic.device))
        # Through so many descents a narrow gradient can point anywhere, even backwards.
        with torch.autocast(bench.arithmetic.device.type, enabled=False):
            theta = synthetic.train_from(network, start, differentiable=True)
            logits = torch.func.functional_call(network, theta, (student.normalise(batch.inputs),))
        loss = hard_loss(logits, batch.labels)
        rate = synthetic.rates.detach().mean()
        found = accuracy(logits, batch.labels)
        return {"loss": loss, "hard_loss": loss, "accuracy": found, "synthetic_rate": rate}

    def deliver(_trainee: nn.Module) -> nn.Module:
        with torch.enable_grad():
            theta = synthetic.train_from(network, own, differentiable=False)
        with torch.no_grad():
            for name, value in network.named_parameters():
                value.copy_(theta[name])
        return student

    stage = replace(
        bench.stage(student, objective, bench.transfer()),
        trainee=synthetic,
        after_step=lambda _clock: None,
        evaluate=evaluator(bench, lambda: deliver(synthetic)),
        deliver=deliver,
    )
    delivered = yield stage
    if not bench.prefix:  # of further seeds only the students are wanted
        publish(bench, synthetic)
    return delivered


class Synthetic(nn.Module):
    """Images as the network reads them, S x M x inputs, and P x S rates below a softplus."""

    labels: Tensor

    def __init__(self, method: DatasetDistillation, spec: Network, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(mix("images", seed))
        count = spec.classes * method.images_per_class
        shape = (method.steps, count, *spec.input_shape)
        self.images = nn.Parameter(torch.randn(shape, generator=generator))
        raw = math.log(math.expm1(method.rate))
        self.raw_rates = nn.Parameter(torch.full((method.passes, method.steps), raw))
        labels = torch.arange(spec.classes).repeat_interleave(method.images_per_class)
        self.register_buffer("labels", labels)

    @property
    def rates(self) -> Tensor:
        return F.softplus(self.raw_rates)

    def train_from(self, network: nn.Module, start: Weights, *, differentiable: bool) -> Weights:
        """theta_n from theta_0."""
        return descend(
            network,
            start,
            self.images,
            self.labels,
            self.rates,
            differentiable=differentiable,
        )


def evaluator(
    bench: Bench, student: Callable[[], nn.Module]
) -> Callable[[], dict[str, float]] | None:
    """Validation metrics of the student that the images make now."""
    if "validation" not in bench.data.names:
        return None
    examples = bench.data.split("validation")
    teacher_classes = bench.teacher_classes("validation")

    def evaluate() -> dict[str, float]:
        logits = predict(student(), examples.inputs, bench.arithmetic)
        return validation_metrics(logits, examples.labels, teacher_classes)

    return evaluate


def publish(bench: Bench, synthetic: Synthetic) -> None:
    """synthetic.npz, a data set as POST /files takes it, and synthetic.json with the rates."""
    stored = tuple(bench.data.split("train").inputs.shape[1:])
    x = as_stored(synthetic.images.detach().flatten(0, 1).cpu(), stored, bench.preprocess)
    y = synthetic.labels.repeat(len(synthetic.images)).cpu()
    told = {
        "rates": synthetic.rates.tolist(),
        "images_per_step": len(synthetic.labels),
        "normalize": {name: list(bench.preprocess[name]) for name in ("mean", "std")},
    }

    def arrays(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, x_train=x.numpy(), y_train=y.numpy())

    def rates(path: Path) -> None:
        path.write_text(json.dumps(told, indent=2) + "\n")

    bench.keep.publish("synthetic.npz", "dataset", "npz", arrays)
    bench.keep.publish("synthetic.json", "dataset", "json", rates)


def as_stored(images: Tensor, stored: tuple[int, ...], preprocess: dict[str, Any]) -> Tensor:
    """N x inputs to N x the data set's own shape, in its units once scaled: x std + mean."""
    if images.ndim == 4:
        images = images.permute(0, 2, 3, 1)
    images = images.reshape(len(images), *stored)
    mean, std = (torch.tensor(preprocess[name]) for name in ("mean", "std"))
    if len(mean) > 1 or len(stored) != 2:
        return images * std + mean
    return images * std[0] + mean[0]
