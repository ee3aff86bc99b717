"""What a job will take, before it runs: shapes, and the rates that workers have measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import unprocessable
from app.jobs.materials import Material
from app.jobs.schemas import Estimate
from app.settings import Settings
from app.spec.controls import RandomTeacher
from app.spec.job import JobSpec, Select
from app.spec.training import auto_precision
from app.tables import Worker

# A training step is a forward pass and a backward one of twice the work.
TRAIN_FACTOR = 3
# What a whole training reaches of the rate of its matrix products alone.
EFFICIENCY = 0.5
# A step takes so many times one with next to no arithmetic in it, however small the networks.
STEP_FACTOR = 3
# Float32 copies of each weight: itself, its gradient, and what the optimiser remembers.
COPIES = {"sgd": 3, "adam": 4, "adamw": 4}


@dataclass(frozen=True)
class Resolution:
    """Every `auto`, as the worker that is likely to take the job would resolve it."""

    spec: JobSpec
    device: str | None
    gflops: float | None
    """Measured, in the resolved precision."""
    step_s: float = 0.0
    """Measured seconds of a step with next to no arithmetic."""


def resolve(spec: JobSpec, material: Material, workers: Sequence[Worker]) -> Resolution:
    """Without a live worker device and precision stay open."""
    facts = material.facts
    select = spec.select or Select.auto(
        validated=bool(facts.rows.get("validation")), labelled=facts.labelled
    )
    spec = spec.model_copy(update={"select": select})
    candidates = [_on(spec, worker) for worker in workers if worker.gflops]
    if not candidates:
        return Resolution(spec, None, None)
    return max(candidates, key=lambda one: one.gflops or 0)


def _on(spec: JobSpec, worker: Worker) -> Resolution:
    rates = worker.gflops or {}
    precision = spec.training.precision
    if precision == "auto":
        precision = auto_precision(spec.student.network.flops, fast_bf16="bf16" in rates)
    training = spec.training.model_copy(update={"precision": precision})
    rate = rates.get(precision, rates.get("fp32"))
    resolved = spec.model_copy(update={"training": training})
    return Resolution(resolved, worker.device, rate, worker.step_s or 0.0)


def memory_bytes(spec: JobSpec, material: Material) -> int:
    """Weights, gradients, optimiser state and activations of a step, and the teachers' weights."""
    student, training = spec.student.network, spec.training
    trained = (student, *spec.method.peers_of(student))
    parameters = sum(network.parameters for network in trained)
    weights = 4 * parameters * COPIES[training.optimizer.name]
    size = 2 if training.precision in ("bf16", "fp16") else 4
    batch = min(training.batch_size, max(material.transfer_rows(spec), 1))
    activations = size * sum(network.activations for network in trained) * batch
    return weights + activations + sum(4 * network.parameters for network in material.networks)


def check_memory(spec: JobSpec, material: Material, reported: int, settings: Settings) -> None:
    """`reported` is what the largest worker has. Raises Unprocessable `over_memory_budget`."""
    budget = settings.memory_budget_bytes or reported or settings.memory_budget
    needed = memory_bytes(spec, material)
    if needed > budget:
        raise unprocessable(
            "/student/network",
            "over_memory_budget",
            f"Training this takes about {needed:,} bytes, {budget:,} are allowed: "
            f"{spec.student.network.parameters:,} parameters, "
            f"batches of {spec.training.batch_size:,}.",
        )


def steps_of(spec: JobSpec, material: Material) -> int:
    """Of all students, baselines and controls together."""
    per_epoch = spec.training.steps_per_epoch(material.transfer_rows(spec))
    return sum(planned_epochs(spec, material)) * per_epoch


def planned_epochs(spec: JobSpec, material: Material) -> tuple[int, ...]:
    """Of each stage of all students, baselines and controls, in their order."""
    return spec.planned_epochs(compared=_compared(spec, material))


def _compared(spec: JobSpec, material: Material) -> bool:
    return spec.baseline is not None and spec.method.compared and material.facts.labelled


def _work(spec: JobSpec, material: Material) -> int:
    """FLOPs forward of one example, over all epochs of students, baselines and controls."""
    student, epochs = spec.student.network, spec.training.epochs
    taught = student.flops + sum(peer.flops for peer in spec.method.peers_of(student))
    work = taught * sum(spec.stage_epochs)
    if _compared(spec, material):
        work += student.flops * epochs
        for control in spec.controls:
            flops = taught if control.own_method else student.flops
            work += flops * sum(control.stage_epochs(spec.method, epochs))
    return work * (spec.baseline.seeds if spec.baseline else 1)


def _teachings(spec: JobSpec, material: Material) -> int:
    """Passes of the teachers over each view: of the job's own, and of a fresh one for each seed."""
    fresh = any(isinstance(control, RandomTeacher) for control in spec.controls)
    seeds = spec.baseline.seeds if spec.baseline else 1
    return 1 + (seeds if fresh and _compared(spec, material) else 0)


def estimate(resolution: Resolution, material: Material) -> Estimate:
    """Of a job with nothing cached."""
    spec = resolution.spec
    rows = material.transfer_rows(spec)
    train = TRAIN_FACTOR * rows * _work(spec, material)
    views = (spec.training.epochs if spec.training.augment else 1) * _teachings(spec, material)
    teaching = sum(network.flops for network in material.networks) * rows * views
    seconds, basis = None, "no worker has been seen lately, so no rate is known"
    if resolution.gflops:
        arithmetic = (train + teaching) / (EFFICIENCY * 1e9 * resolution.gflops)
        steps = steps_of(spec, material)
        seconds = round(arithmetic + steps * STEP_FACTOR * resolution.step_s, 3)
        basis = (
            f"{EFFICIENCY:.0%} of the {resolution.gflops:,.0f} GFLOP/s that a worker measured in "
            f"{spec.training.precision} on {resolution.device}, and at least"
            f" {1e3 * STEP_FACTOR * resolution.step_s:.2f} ms for each of {steps:,} steps"
        )
    return Estimate(
        memory_bytes=memory_bytes(spec, material) + material.facts.bytes,
        seconds=seconds,
        teacher_pass_flops=teaching,
        train_flops=train,
        basis=basis,
    )
