"""Part c: the CIFAR-100 table's protocol on resnet32x4 -> resnet8x4.

The protocol of RepDistiller (Tian et al. 2020, arXiv 1910.10699), from which most of the published
columns come: SGD with momentum 0.9, batch 64, 240 epochs, rate 0.05 times 0.1 after 150, 180 and
210, weight decay 5e-4, crop and flip; test accuracy of the last epoch; fitnets in one stage with
CE + 100 MSE, at with CE weight 1 and no soft term. A scale below 1 takes the first share of the
examples of each split and of the epochs: it shows that the script runs, and nothing else.
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.reproduce.runs import Run

SEEDS = (0, 1, 2)
EPOCHS = 240
MILESTONES = (150, 180, 210)

TEACHER = {"family": "resnet", "depth": 32, "width": 4, "classes": 100}
STUDENT = {"family": "resnet", "depth": 8, "width": 4, "classes": 100}

METHODS: dict[str, dict[str, Any]] = {
    "kd": {"name": "kd", "temperature": 4, "alpha": 0.9},
    "dkd": {"name": "dkd", "temperature": 4, "alpha": 1, "beta": 8, "warmup_epochs": 20},
    "dist": {"name": "dist", "temperature": 4, "beta": 2, "gamma": 2, "hard_weight": 1},
    "at": {"name": "at", "beta": 1000, "hard_weight": 1, "soft_weight": 0},
    "fitnets": {"name": "fitnets", "one_stage": True, "hint_weight": 100},
}

PUBLISHED = {
    "teacher": 79.42,
    "alone": 72.50,
    "kd": 73.33,
    "dkd": 76.32,
    "dist": 76.31,
    "at": 73.44,
    "fitnets": 73.50,
}
"""Top-1 in percent. Those of dkd and dist are their authors' best test epoch."""


def prefix(scale: float) -> str:
    """What the names of a scale's runs begin with, and their data set's end."""
    return "" if scale == 1 else f"@{scale:g}"


def runs(scale: float = 1.0) -> Iterator[Run]:
    """All of part c, at a scale that its names tell."""
    at, data = f"c{prefix(scale)}", f"cifar100{prefix(scale)}"
    yield Run(f"{at}/teacher/0", data, _job(TEACHER, {"name": "supervised"}, 0, scale), wave=20)
    for k in SEEDS:
        alone = _job(STUDENT, {"name": "supervised"}, k, scale)
        yield Run(f"{at}/alone/{k}", data, alone, wave=20 + k)
        for name, method in METHODS.items():
            job = _job(STUDENT, _scaled(method, scale), k, scale)
            yield Run(f"{at}/{name}/{k}", data, job, (f"{at}/teacher/0",), wave=20 + k)


def _job(
    network: dict[str, Any], method: dict[str, Any], seed: int, scale: float
) -> dict[str, Any]:
    epochs = max(round(EPOCHS * scale), 1)
    milestones = sorted({max(round(epoch * scale), 1) for epoch in MILESTONES})
    return {
        "student": {"network": network},
        "method": method,
        "training": {
            "epochs": epochs,
            "batch_size": 64,
            "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
            "schedule": {"name": "step", "milestones": milestones, "gamma": 0.1},
            "augment": [{"name": "crop", "padding": 4}, {"name": "flip"}],
            "seed": seed,
        },
        "baseline": None,
        "select": {"metric": "last"},
    }


def _scaled(method: dict[str, Any], scale: float) -> dict[str, Any]:
    if "warmup_epochs" in method and scale != 1:
        return method | {"warmup_epochs": method["warmup_epochs"] * scale}
    return method
