"""Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 5,
1503.02531: a generalist, its specialists, and then (new here) one student of them all."""

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from app.spec.job import Select
from app.spec.methods import Specialists
from app.spec.problems import Refused
from app.spec.schedules import value_at
from workers.engine.bench import Bench
from workers.engine.evaluate import predict, validation_metrics
from workers.engine.losses import hard_loss, kl_divergence, log_soften
from workers.engine.soft_targets import Teacher
from workers.engine.specialist_losses import (
    Opinion,
    cluster,
    common_opinion,
    covariance,
    dustbin_correction,
)
from workers.engine.stages import Batch, Clock, Plan, Stage, Terms, mix
from workers.engine.transfer import Transfer
from workers.methods.observe import accuracy
from workers.methods.registry import plan
from workers.networks import build
from workers.networks.preprocess import Preprocessed
from workers.networks.quantized import floats

CHUNK = 8192


@plan.register
def specialists(method: Specialists, bench: Bench) -> Plan:
    """A stage for each specialist, then the student's, on what all of them say together."""
    transfer = bench.transfer()
    generalist = bench.teachers[0]
    trained = []
    for number, classes in enumerate(find_sets(method, bench, transfer)):
        specialist = Specialist(generalist.network, classes, Halves(transfer, bench, classes))
        bench.place(specialist.network)
        delivered = yield stage_of(method, bench, specialist, number)
        trained.append(cast(Specialist, bench.freeze(delivered)))
    committee = Committee(method, bench, transfer, trained)
    committee.publish()
    return (yield student_stage(method, bench, transfer, committee))


def find_sets(method: Specialists, bench: Bench, transfer: Transfer) -> list[list[int]]:
    """The specialists' classes: as given, or clusters of what the generalist confuses."""
    if method.sets is not None:
        return [sorted(classes) for classes in method.sets]

    def compute() -> dict[str, Tensor]:
        logits = predict(bench.teachers[0].network, transfer.inputs, bench.arithmetic)
        found = covariance(log_soften(logits, 1.0).exp())
        seed = mix("clusters", bench.job.training.seed)
        return {"covariance": found, "cluster": cluster(found, method.count, seed)}

    clusters = bench.once("clusters", compute)["cluster"]
    sets = [(clusters == k).nonzero().flatten().tolist() for k in range(method.count)]
    if not all(sets):
        raise Refused.invalid(
            "too_few_clusters",
            f"The generalist's predictions make fewer than {method.count} clusters.",
            hint="Ask for fewer, or give the sets.",
            pointer="/method/count",
        )
    return sets


class Halves(Transfer):
    """A specialist's examples: all of its set in an epoch, and as many drawn from the rest.

    Labels are positions in the set, or its size for the dustbin.
    """

    def __init__(self, transfer: Transfer, bench: Bench, classes: Sequence[int]) -> None:
        """Raises Refused where either half is empty."""
        assert transfer.labels is not None  # noqa: S101  (refused before the job was queued)
        super().__init__(transfer.inputs, transfer.labels, bench.training)
        table = torch.full((bench.job.student.network.classes,), len(classes))
        table[list(classes)] = torch.arange(len(classes))
        self.table = table.to(self.device)
        self.labels = self.table[transfer.labels]
        member = self.labels < len(classes)
        self.inside = member.nonzero().flatten().cpu()
        self.beyond = (~member).nonzero().flatten().cpu()
        self.prior = len(self.inside) / len(member)
        if not 0 < self.prior < 1:
            raise Refused.invalid(
                "specialist_without_examples",
                f"The transfer set has {len(self.inside)} examples of the classes {list(classes)} "
                f"and {len(self.beyond)} of others: their specialist needs both.",
                pointer="/transfer",
            )

    def __len__(self) -> int:
        return 2 * len(self.inside)

    def order(self, seed: int, stage: int, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(mix("halves", seed, stage, epoch))
        wanted = len(self.inside)
        drawn = torch.randperm(len(self.beyond), generator=generator)[:wanted]
        if len(drawn) < wanted:  # a rest that is smaller than the set: some of it again
            again = torch.randint(len(self.beyond), (wanted - len(drawn),), generator=generator)
            drawn = torch.cat([drawn, again])
        both = torch.cat([self.inside, self.beyond[drawn]])
        return both[torch.randperm(len(both), generator=generator)].to(self.device)


class Specialist(nn.Module):
    """A copy of the generalist with outputs for its set and the dustbin.

    `forward` is corrected for the halves, as evaluation and the committee need it; training reads
    `network`.
    """

    correction: Tensor

    def __init__(self, generalist: Preprocessed, classes: Sequence[int], halves: Halves) -> None:
        """Starts from the generalist's weights, the dustbin from the mean of its classes'."""
        super().__init__()
        self.classes, self.halves = list(classes), halves
        spec = generalist.network.spec
        network = build(spec.model_copy(update={"classes": len(classes) + 1}), seed=0)
        state = dict(floats(generalist.network).state_dict())
        others = [c for c in range(spec.classes) if c not in set(classes)]
        for part in ("weight", "bias"):
            head = state[f"{spec.classifier}.{part}"]
            state[f"{spec.classifier}.{part}"] = torch.cat(
                [head[self.classes], head[others].mean(dim=0, keepdim=True)]
            )
        network.load_state_dict(state)
        self.network = copy.deepcopy(generalist)
        self.network.network = network
        self.network.to(generalist.factor.device).requires_grad_(True)
        correction = torch.zeros(len(classes) + 1)
        correction[-1] = dustbin_correction(halves.prior)
        self.register_buffer("correction", correction.to(generalist.factor.device))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits + self.correction


def stage_of(method: Specialists, bench: Bench, specialist: Specialist, number: int) -> Stage:
    """One specialist: cross-entropy over its set and the dustbin, at a fraction of the rate."""

    def objective(batch: Batch, _clock: Clock) -> Terms:
        assert batch.labels is not None  # noqa: S101
        logits = specialist.network(batch.inputs)
        loss = hard_loss(logits, batch.labels)
        return {"loss": loss, "hard_loss": loss, "accuracy": accuracy(logits, batch.labels)}

    halves = specialist.halves
    stage = bench.stage(
        specialist.network, objective, halves, name=f"specialist/{number}", index=number + 1
    )
    epochs = method.specialist_epochs or bench.training.epochs
    evaluate = specialist_evaluator(bench, specialist)
    measured = bench.select.metric in ("validation/accuracy", "validation/loss")
    group = {"params": list(specialist.parameters()), "scale": method.specialist_lr_scale}
    return replace(
        stage,
        trainee=specialist,
        training=bench.training.shortened(epochs),
        select=bench.select if evaluate is not None and measured else Select(metric="last"),
        evaluate=evaluate,
        parameter_groups=lambda: [group],
    )


def specialist_evaluator(
    bench: Bench, specialist: Specialist
) -> Callable[[], dict[str, float]] | None:
    """Metrics over the set and the dustbin, on the validation split as it is, not in halves."""
    if "validation" not in bench.data.names:
        return None
    examples = bench.data.split("validation")
    if examples.labels is None:
        return None
    labels = specialist.halves.table[examples.labels]

    def evaluate() -> dict[str, float]:
        logits = predict(specialist, examples.inputs, bench.arithmetic)
        return validation_metrics(logits, labels, None)

    return evaluate


class Committee:
    """The generalist and its specialists as one teacher: q for each example and view."""

    def __init__(
        self,
        method: Specialists,
        bench: Bench,
        transfer: Transfer,
        specialists: Sequence[Specialist],
    ) -> None:
        self.top, self.bench, self.specialists = method.top, bench, specialists
        members = [
            bench.teachers[0],
            *(Teacher(cast(Preprocessed, one), content_of(one)) for one in specialists),
        ]
        self.transfer = transfer
        self.targets = replace(bench, teachers=members).soft_targets(transfer)
        self._view: int | None = None
        self._log_q = torch.empty(0)

    def prepare(self, epoch: int) -> None:
        """What they say of an epoch's views, after a pass of each where there was none yet."""
        view = epoch if self.transfer.views.many else 0
        if view != self._view:
            everything = torch.arange(len(self.transfer), device=self.transfer.device)
            batch = Batch(self.transfer.inputs, None, everything, epoch)
            self._log_q, self._view = self.agree(self.targets(batch)), view

    def __call__(self, batch: Batch) -> Tensor:
        """log q, N x C."""
        self.prepare(batch.epoch)
        return self._log_q[batch.index]

    def predict(self, inputs: Tensor) -> Tensor:
        """log q of held-out examples, N x C."""
        members = (self.bench.teachers[0].network, *self.specialists)
        return self.agree([predict(one, inputs, self.bench.arithmetic) for one in members])

    def agree(self, logits: Sequence[Tensor]) -> Tensor:
        """log q from the members' logits, the generalist's first."""
        general, *rest = (log_soften(z, 1.0).exp() for z in logits)
        parts = []
        for start in range(0, len(general), CHUNK):
            rows = slice(start, start + CHUNK)
            opinions = [
                Opinion(torch.tensor(one.classes, device=p.device), p[rows])
                for one, p in zip(self.specialists, rest, strict=True)
            ]
            parts.append(common_opinion(general[rows], opinions, self.top))
        q = torch.cat(parts)
        return q.clamp(min=torch.finfo(q.dtype).tiny).log()

    def publish(self) -> None:
        """specialists.json: each one's classes, and the share of the examples that they have."""
        if self.bench.prefix:
            return  # further seeds
        told = [{"classes": one.classes, "prior": one.halves.prior} for one in self.specialists]
        text = json.dumps(told, indent=2) + "\n"

        def write(path: Path) -> None:
            path.write_text(text)

        self.bench.keep.publish("specialists.json", "specialists", "json", write)


def student_stage(
    method: Specialists, bench: Bench, transfer: Transfer, committee: Committee
) -> Stage:
    """Distillation from q, with the committee's own accuracy beside the student's."""
    student = bench.student()

    def objective(batch: Batch, clock: Clock) -> Terms:
        temperature = value_at(method.temperature, clock.epoch, clock.epochs)
        alpha = value_at(method.alpha, clock.epoch, clock.epochs)
        assert batch.labels is not None  # noqa: S101
        log_q = committee(batch)
        logits = student(batch.inputs)
        soft = kl_divergence(log_soften(log_q, temperature), log_soften(logits, temperature))
        hard = hard_loss(logits, batch.labels)
        return {
            "loss": alpha * temperature**2 * soft + (1 - alpha) * hard,
            "soft_loss": soft,
            "hard_loss": hard,
            "accuracy": accuracy(logits, batch.labels),
            "agreement": accuracy(logits, log_q.argmax(dim=1)),
        }

    stage = replace(bench.stage(student, objective, transfer), before_epoch=committee.prepare)
    if stage.evaluate is None:
        return stage
    examples = bench.data.split("validation")
    if examples.labels is None:
        return stage
    classes = committee.predict(examples.inputs).argmax(dim=1)
    right = float((classes == examples.labels).float().mean())
    own = stage.evaluate
    return replace(stage, evaluate=lambda: own() | {"validation/ensemble_accuracy": right})


def content_of(module: nn.Module) -> str:
    """A name for a network's weights: its outputs are cached by it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
