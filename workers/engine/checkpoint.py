"""Saving and resuming a stage, bit for bit.

A checkpoint is one safetensors file: every tensor under a dotted name, everything else as JSON in
its metadata. No pickle is read or written.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass
class Position:
    """How far a stage has come, and what it keeps beside its weights."""

    step: int = 0
    best_metric: float | None = None
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    """The trainee's state at its best epoch, on the CPU."""
    seconds: float = 0.0
    """Spent on the stage so far, by every attempt."""


def save(
    path: Path,
    *,
    spec_sha256: str,
    stage: int,
    position: Position,
    trainee: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    scaler: torch.amp.GradScaler,
    meter: dict[str, Any],
) -> None:
    """Writes to a temporary file, syncs it, and gives it its name: whole or not there at all."""
    tensors: dict[str, Tensor] = {"rng.cpu": torch.get_rng_state()}
    device = next(trainee.parameters()).device
    if device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
    tensors |= {f"trainee.{name}": value for name, value in trainee.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in position.best.items()}
    groups = []
    for number, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        groups.append(state["param_groups"])
        for index, values in state["state"].items():
            for name, value in values.items():
                if value is not None:
                    tensors[f"optimizer.{number}.{index}.{name}"] = torch.as_tensor(value)
    if meter["sums"] is not None:
        tensors["meter"] = meter["sums"]
    document = {
        "spec_sha256": spec_sha256,
        "stage": stage,
        "step": position.step,
        "best_metric": position.best_metric,
        "best_epoch": position.best_epoch,
        "seconds": position.seconds,
        "param_groups": groups,
        "scaler": scaler.state_dict(),
        "meter": {"names": meter["names"], "weight": meter["weight"]},
    }
    part = path.with_suffix(".part")
    # Tensors that share memory (tied weights) would be refused; each gets its own.
    own = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(own, part, metadata={"stillhouse": json.dumps(document)})
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


@dataclass(frozen=True)
class Saved:
    """A checkpoint that has been read."""

    document: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def stage(self) -> int:
        return int(self.document["stage"])

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below a dotted name, without it."""
        return {
            name.removeprefix(prefix + "."): value
            for name, value in self.tensors.items()
            if name.startswith(prefix + ".")
        }


def load(path: Path) -> Saved:
    """Reads a checkpoint file, whose checksum the caller has compared."""
    with safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()["stillhouse"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Saved(document, tensors)


def restore(
    saved: Saved,
    *,
    trainee: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    scaler: torch.amp.GradScaler,
    meter: Any,
) -> Position:
    """Puts everything back as it was when the checkpoint was written."""
    trainee.load_state_dict(saved.under("trainee"))
    device = next(trainee.parameters()).device
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in saved.under(f"optimizer.{number}").items():
            index, _, field_name = name.partition(".")
            state.setdefault(int(index), {})[field_name] = value
        # The job's own rates and decays: a clone of other ones goes on with what it asks for.
        own = [
            {name: value for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]
        groups = saved.document["param_groups"][number]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        for group, options in zip(optimizer.param_groups, own, strict=True):
            group.update(options)
        _lay_out_alike(optimizer)
    scaler.load_state_dict(saved.document["scaler"])
    if "meter" in saved.tensors:
        meter.sums = saved.tensors["meter"].to(device)
        meter.names = tuple(saved.document["meter"]["names"])
        meter.weight = saved.document["meter"]["weight"]
    torch.set_rng_state(saved.tensors["rng.cpu"])
    if "rng.cuda" in saved.tensors and device.type == "cuda":
        torch.cuda.set_rng_state(saved.tensors["rng.cuda"], device)
    return Position(
        step=saved.document["step"],
        best_metric=saved.document["best_metric"],
        best_epoch=saved.document["best_epoch"],
        best=saved.under("best"),
        seconds=saved.document.get("seconds", 0.0),  # an earlier version did not write it
    )


def _lay_out_alike(optimizer: torch.optim.Optimizer) -> None:
    """Gives what an optimiser remembers of a parameter the parameter's own memory layout.

    Files hold contiguous tensors, convolutions are channels_last, and fused kernels walk both in
    the order of memory: they would give each weight another one's momentum.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
