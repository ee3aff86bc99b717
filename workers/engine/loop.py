"""The one training loop. It knows stages only, never a method's name."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from app.spec.problems import Refused
from workers.engine import checkpoint
from workers.engine.device import Arithmetic
from workers.engine.meter import Diverged, Meter
from workers.engine.optim import make_optimizer, rate_factor, set_rate
from workers.engine.reporter import Reporter, Stopped, file_facts
from workers.engine.stages import Clock, Stage, Terms, Turn, mix

POINTS_PER_STAGE = 500
CHECKPOINT_SHARE = 0.01
"""Most of the time that may go into checkpoints."""


@dataclass(frozen=True)
class Run:
    """What all stages of one job share."""

    seed: int
    arithmetic: Arithmetic
    reporter: Reporter
    out: Path
    spec_sha256: str
    checkpoint_every_s: float
    stages: int
    before: float = 0.0
    """The share of the job's epochs that comes before this stage."""
    share: float = 1.0
    """The share that this stage has."""


@dataclass
class Outcome:
    """What training a stage came to."""

    best_epoch: int
    """Whose weights were kept; the last one when nothing selects."""
    best_metric: float | None
    seconds: float


def train(
    stage: Stage,
    run: Run,
    *,
    number: int,
    offset: int,
    total_steps: int,
    resume: checkpoint.Saved | None = None,
    keep_last: bool = False,
) -> Outcome:
    """Trains a stage and leaves its trainee with the selected epoch's weights.

    `number` counts stages over the whole job, `offset` the steps of those before it; `keep_last`
    leaves a checkpoint of the end, marked as the best one: it holds the selected weights. Raises
    Stopped after a checkpoint when the reporter asks for it, and Refused (code
    `training_diverged`) when the loss is no longer finite.
    """
    # --- set up
    trainee = stage.trainee.train()
    device = run.arithmetic.device
    training = stage.training
    turns = list(stage.turns) or [Turn(list(trainee.parameters()), stage.objective)]
    groups = stage.parameter_groups() if stage.parameter_groups else None
    optimizers = [make_optimizer(training.optimizer, groups or turn.parameters) for turn in turns]
    scaler = run.arithmetic.scaler()
    meter = Meter()
    position = checkpoint.Position()
    per_epoch = stage.steps_per_epoch
    log_every = training.log_every or max(1, math.ceil(stage.steps / POINTS_PER_STAGE))
    torch.manual_seed(mix("stage", run.seed, stage.index))
    if resume is not None:
        position = checkpoint.restore(
            resume, trainee=trainee, optimizers=optimizers, scaler=scaler, meter=meter
        )
    pace = _Pace(stage, run, number=number, offset=offset, total_steps=total_steps)
    earlier = position.seconds

    def save(*, best: bool = False) -> None:
        if not _all_finite(trainee.parameters()):
            return  # keep the one before: it is the last good one
        began = time.monotonic()
        position.seconds = earlier + pace.seconds
        path = run.out / f"checkpoint-{number}-{position.step}.safetensors"
        checkpoint.save(
            path,
            spec_sha256=run.spec_sha256,
            stage=number,
            position=position,
            trainee=trainee,
            optimizers=optimizers,
            scaler=scaler,
            meter=vars(meter),
        )
        pace.tell(position.step)  # nobody should see a checkpoint further on than the job
        run.reporter.send(
            "checkpoint",
            name=path.name,
            stage=number,
            step=offset + position.step,
            best=best,
            **file_facts(path),
        )
        pace.checkpointed(time.monotonic() - began)

    # --- train
    try:
        for epoch in range(position.step // per_epoch, training.epochs):
            stage.before_epoch(epoch)
            order = stage.transfer.order(run.seed, stage.index, epoch)
            for batch_number in range(position.step % per_epoch, per_epoch):
                # Before a step, so that an epoch's evaluation is never skipped on resume.
                if run.reporter.stopping:
                    raise Stopped
                if pace.checkpoint_due():
                    save()
                clock = Clock(
                    run.seed, stage.index, position.step, stage.steps, per_epoch, training.epochs
                )
                rate = training.optimizer.lr * rate_factor(
                    training.schedule, clock.epoch, training.epochs
                )
                start = batch_number * training.batch_size
                index = order[start : start + training.batch_size]
                batch = stage.transfer.batch(index, epoch)

                logged: Terms = {}
                for turn, optimizer in zip(turns, optimizers, strict=True):
                    set_rate(optimizer, rate)
                    with run.arithmetic():
                        terms = turn.objective(batch, clock)
                    optimizer.zero_grad(set_to_none=True)
                    scaler.scale(terms["loss"]).backward()
                    if training.clip_norm is not None:
                        scaler.unscale_(optimizer)
                        torch.nn.utils.clip_grad_norm_(turn.parameters, training.clip_norm)
                    scaler.step(optimizer)
                    logged |= turn.logged(terms)
                scaler.update()
                stage.after_step(clock)
                meter.add(logged, len(index))
                position.step += 1
                pace.tick(position.step, len(index))

                if position.step % log_every == 0 or position.step == stage.steps:
                    means = {f"train/{name}": mean for name, mean in meter.flush().items()}
                    pace.points(position.step, means | {"train/lr": rate} | pace.speed())

            if stage.evaluate and _evaluates(epoch, training.epochs, training.eval_every):
                metrics = stage.evaluate()
                pace.points(position.step, metrics)
                _keep_best(stage, position, metrics, epoch + 1)
    except Stopped:
        save()
        raise
    except Diverged:
        if position.best:
            trainee.load_state_dict(position.best)
            save(best=keep_last)
        raise Refused(
            422,
            "training_diverged",
            "Training diverged",
            f"The training loss of stage {stage.name!r} was not a finite number by step "
            f"{offset + position.step} (epoch {position.step / per_epoch:.2f}).",
            hint="Lower optimizer.lr, add warmup_epochs or set clip_norm; the last good "
            "checkpoint, if there is one, is among the artifacts.",
        ) from None

    # --- hand over
    if keep_last:
        save(best=True)
    if position.best:
        trainee.load_state_dict(position.best)
        trainee.to(device)
    best_epoch = position.best_epoch if position.best else training.epochs
    return Outcome(best_epoch, position.best_metric, earlier + pace.seconds)


def _all_finite(parameters: Iterable[Tensor]) -> bool:
    norms = torch._foreach_norm(list(parameters))
    return bool(torch.stack(list(norms)).isfinite().all())


def _evaluates(epoch: int, epochs: int, every: int) -> bool:
    return (epoch + 1) % every == 0 or epoch + 1 == epochs


def _keep_best(
    stage: Stage, position: checkpoint.Position, metrics: dict[str, float], epoch: int
) -> None:
    """Copies the trainee's weights when the selecting metric is better than before."""
    select = stage.select
    if select.metric == "last":
        return
    if select.metric not in metrics:
        raise Refused.invalid(
            "selection_unmeasured",
            f"{select.metric} cannot be measured: the validation split lacks what it needs.",
            hint='Select by another metric, or {"metric": "last"}.',
            pointer="/select/metric",
        )
    metric = metrics[select.metric]
    before = position.best_metric
    better = before is None or (metric > before if select.mode == "max" else metric < before)
    if math.isfinite(metric) and better:
        position.best_metric = metric
        position.best_epoch = epoch
        position.best = {
            name: value.detach().to("cpu", copy=True)
            for name, value in stage.trainee.state_dict().items()
        }


class _Pace:
    """Progress by the clock, metrics by the step, checkpoints by both."""

    def __init__(
        self, stage: Stage, run: Run, *, number: int, offset: int, total_steps: int
    ) -> None:
        self.stage, self.run, self.number = stage, run, number
        self.offset, self.total = offset, total_steps
        self.per_epoch = stage.steps_per_epoch
        self.began = self.last_sent = self.last_logged = time.monotonic()
        self.examples = self.logged_examples = 0
        self.next_checkpoint = self.began + run.checkpoint_every_s
        self.first = True

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def tick(self, step: int, examples: int) -> None:
        """Counts a step; says where the run stands at most four times a second."""
        self.examples += examples
        now = time.monotonic()
        if self.first:
            self.first = False
            self.run.reporter.send("phase", phase="training")
        elif now - self.last_sent < 0.25 and step < self.stage.steps:
            return
        self.tell(step)

    def tell(self, step: int) -> None:
        """Where the run stands."""
        now = self.last_sent = time.monotonic()
        elapsed = max(now - self.began, 1e-9)
        rate = self.examples / elapsed
        done = self.offset + step
        batch = self.stage.training.batch_size
        self.run.reporter.send(
            "progress",
            stage=self.number + 1,
            stages=self.run.stages,
            epoch=round(step / self.per_epoch, 3),
            epochs=self.stage.training.epochs,
            step=done,
            steps=self.total,
            fraction=round(self.run.before + self.run.share * step / self.stage.steps, 6),
            samples_per_s=round(rate, 1),
            eta_s=round((self.total - done) * batch / rate, 1) if rate else None,
        )

    def speed(self) -> dict[str, float]:
        """Examples a second since the last logged point."""
        now = time.monotonic()
        rate = (self.examples - self.logged_examples) / max(now - self.last_logged, 1e-9)
        self.last_logged, self.logged_examples = now, self.examples
        return {"train/samples_per_s": rate}

    def points(self, step: int, values: dict[str, float]) -> None:
        """Sends metrics under the stage's prefix; what is not finite is sent as null."""
        epoch = step / self.per_epoch
        at = time.time()
        prefix = f"{self.stage.name}/" if self.stage.name else ""
        self.run.reporter.send(
            "metrics",
            points=[
                (prefix + key, self.offset + step, epoch, at, v if math.isfinite(v) else None)
                for key, v in values.items()
            ],
        )

    def checkpoint_due(self) -> bool:
        return time.monotonic() >= self.next_checkpoint

    def checkpointed(self, seconds: float) -> None:
        pause = max(self.run.checkpoint_every_s, seconds / CHECKPOINT_SHARE)
        self.next_checkpoint = time.monotonic() + pause
