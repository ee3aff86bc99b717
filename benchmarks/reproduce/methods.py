"""Part b: every method of the registry on one small benchmark.

MNIST; the teacher is a small convnet trained on 50,000 examples, students see a twentieth of them.
All students are alike, have the same epochs, rate and seeds, and are the last epoch's; parameters
are the papers' defaults unless an entry says otherwise. Nothing was chosen by test errors.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.spec.methods import METHODS
from benchmarks.reproduce.runs import Run

EPOCHS = 20
TEACHER_EPOCHS = 10
SEEDS = 3
FRACTION = 0.05


def convnet(channels: list[int], hidden: list[int], **more: Any) -> dict[str, Any]:
    return {
        "family": "convnet",
        "inputs": [1, 28, 28],
        "channels": channels,
        "hidden": hidden,
        "classes": 10,
        **more,
    }


TEACHER = convnet([8, 16], [512], dropout=0.5)
STUDENT = convnet([8, 16], [32])
"""As many channels as the teacher, without which `fsp` has no loss."""
SMALLER = convnet([4, 8], [16])
"""What `net2net` grows from, to a student like the others."""

TRAINING: dict[str, Any] = {
    "epochs": EPOCHS,
    "batch_size": 64,
    "optimizer": {"name": "adam", "lr": 1e-3},
    "schedule": {"name": "cosine"},
    "eval_every": EPOCHS,
}

ENTRIES: Mapping[str, Mapping[str, Any]] = {
    # Fields of the job beside `method.name`; "method" is merged into it. A method that has no
    # entry runs with its defaults.
    "kd": {"method": {"temperature": 4}},
    "dkd": {"method": {"warmup_epochs": EPOCHS / 12}},  # the paper's 20 of 240
    "wttm": {"method": {"temperature": 2}},
    "fitnets": {"method": {"hint_epochs": EPOCHS // 4}},
    "fsp": {"method": {"hint_epochs": EPOCHS // 4}},
    "specialists": {"method": {"specialist_epochs": EPOCHS // 4}},
    "codistillation": {"method": {"burn_in_epochs": EPOCHS / 10}},
    "dataset_distillation": {
        # For one theta_0, its student's: images for whatever theta_0 are not learned in so few
        # steps: after 75 nothing of the loss was gone at a rate of 0.02, and 0.3 had diverged.
        "method": {"steps": 5, "passes": 1, "rate": 0.1, "initialisation": "fixed"},
        "training": {
            "epochs": 20 * EPOCHS,  # three steps each, and the distilled images need hundreds
            "batch_size": 1024,
            "optimizer": {"name": "adam", "lr": 0.03, "betas": [0.5, 0.999]},
            # Without it one of three students fell to chance half-way.
            "clip_norm": 1.0,
        },
    },
}
TEMPERATURES = (1, 4, 20)
ALPHAS = (0.1, 0.5, 0.9, 1.0)
"""Of `kd`, each with each."""
TEACHERS = {
    "net2net": ("b/smaller/0",),
    "born_again": ("b/alike/0",),
    "apprentice": ("b/teacher/0",),
}
"""Methods that do not learn from the common teacher, but from a smaller one or the student's like;
and one that needs a teacher for some of its parameters only."""


def runs() -> Iterator[Run]:
    """The teachers, and a run for each method of the registry but `supervised`: its errors are
    the teacher's and the baselines'."""
    whole = {"augment": [{"name": "shift", "pixels": 2}], "epochs": TEACHER_EPOCHS}
    yield _supervised("b/teacher/0", TEACHER, training=whole)
    yield _supervised("b/smaller/0", SMALLER, transfer={"fraction": FRACTION})
    yield _supervised("b/alike/0", STUDENT, transfer={"fraction": FRACTION})
    for name, method in METHODS.items():
        if name != "supervised":
            least = method.teachers[0]
            by = TEACHERS.get(name, ("b/teacher/0",) if least else ())
            yield Run(f"b/{name}/0", "mnist", entry(name), by, wave=1)
    for temperature in TEMPERATURES:
        for alpha in ALPHAS:
            job = entry("kd")
            job["method"] |= {"temperature": temperature, "alpha": alpha}
            name = f"b/kd-{temperature}-{alpha}/0"
            yield Run(name, "mnist", job, ("b/teacher/0",), wave=2)


def entry(name: str) -> dict[str, Any]:
    """The job of one method."""
    more = ENTRIES.get(name, {})
    return {
        "student": {"network": STUDENT},
        "method": {"name": name, **more.get("method", {})},
        "training": TRAINING | more.get("training", {}),
        "transfer": {"fraction": FRACTION},
        "baseline": {"seeds": SEEDS},
        "select": {"metric": "last"},
    }


def _supervised(name: str, network: dict[str, Any], **more: Any) -> Run:
    training = TRAINING | more.pop("training", {})
    job = {
        "student": {"network": network},
        "method": {"name": "supervised"},
        "training": training,
        "baseline": None,
        "select": {"metric": "last"},
        **more,
    }
    return Run(name, "mnist", job, wave=1)
