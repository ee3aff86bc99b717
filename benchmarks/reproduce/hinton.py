"""Part a: MNIST as in Hinton, Vinyals and Dean 2015, arXiv 1503.02531, sections 3 and 6.

Protocol. Whatever had to be chosen was chosen on 10,000 validation examples cut from train
(`HELD_OUT`), from runs that never saw them. The reported runs then train on all 60,000 (`ALL`) with
those settings and no selection at all: the last epoch counts. Student number k learns from teacher
number k, so that the spread is that of both. The two class-deprived transfer sets choose their bias
on validation and so stay on the 50,000. Networks read pixels from 0 to 1 as they are.
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.reproduce.runs import Run

HELD_OUT, ALL = "mnist-raw", "mnist-raw-all"
SEEDS = (0, 1, 2)
TEMPERATURES = (20, 4, 8, 2, 1)
SMALL_TEMPERATURES = (4, 20, 2.5, 8, 2, 1)
MEMBERS = 10

# The budget: epochs of each kind of run.
TEACHER_EPOCHS = 200
MEMBER_EPOCHS = 60
STUDENT_EPOCHS = 60
JITTERED_EPOCHS = 60  # of a student that sees each digit moved about, as its teacher did
FEW_EPOCHS = 300

LAST = {"metric": "last"}
JITTER = [{"name": "shift", "pixels": 2}]

TEACHER_TRAINING: dict[str, Any] = {
    "batch_size": 256,
    "optimizer": {"name": "adam", "lr": 1e-3},
    "schedule": {"name": "cosine"},
    "augment": JITTER,
}
TEACHER = {"hidden": [1200, 1200], "dropout": 0.5, "input_dropout": 0.2, "max_norm": 3.0}

CANDIDATES = {
    "pixels from 0 to 1": HELD_OUT,
    "pixels less their mean, over their deviation": "mnist",
}
"""Data sets for teacher and student to read, of which validation chose the first."""

STUDENT_TRAINING: dict[str, Any] = {
    "batch_size": 128,
    "optimizer": {"name": "adam", "lr": 1e-3},
    "schedule": {"name": "cosine"},
}
STUDENT = {"hidden": [800, 800]}
SMALL = {"hidden": [30, 30]}

SEARCH: dict[str, dict[str, Any]] = {
    "adam 0.003": {"optimizer": {"name": "adam", "lr": 3e-3}},
    "adamw 0.001, decay 0.5": {"optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.5}},
    "sgd 0.01, momentum 0.9": {"optimizer": {"name": "sgd", "lr": 0.01}},
    "adam 0.001, batches of 256": {"batch_size": 256},
    "adam 0.001, jittered views": {"augment": JITTER},
    "sgd 0.1, momentum 0.9": {"optimizer": {"name": "sgd", "lr": 0.1}},
}
"""How else the student was trained at T = 20, to see on validation what it lacks."""


def job(
    network: dict[str, Any],
    method: dict[str, Any],
    training: dict[str, Any],
    *,
    seed: int,
    epochs: int,
    **more: Any,
) -> dict[str, Any]:
    """A job of one seed without a baseline, which is a run of its own here."""
    return {
        "student": {"network": {"family": "mlp", "inputs": 784, "classes": 10, **network}},
        "method": method,
        "training": {**training, "epochs": epochs, "seed": seed, "eval_every": 10},
        "baseline": None,
        "select": LAST,
        **more,
    }


def supervised(network: dict[str, Any], *, seed: int, **more: Any) -> dict[str, Any]:
    training = more.pop("training", STUDENT_TRAINING)
    epochs = more.pop("epochs", STUDENT_EPOCHS)
    return job(network, {"name": "supervised"}, training, seed=seed, epochs=epochs, **more)


def soft(network: dict[str, Any], temperature: float, *, seed: int, **more: Any) -> dict[str, Any]:
    """Distilled from soft targets alone, as the paper's MNIST students."""
    method = {"name": "kd", "temperature": temperature, "alpha": 1.0}
    training = STUDENT_TRAINING | more.pop("training", {})
    epochs = more.pop("epochs", STUDENT_EPOCHS)
    return job(network, method, training, seed=seed, epochs=epochs, **more)


def teacher(seed: int, epochs: int = TEACHER_EPOCHS) -> dict[str, Any]:
    return supervised(TEACHER, seed=seed, training=TEACHER_TRAINING, epochs=epochs)


def runs() -> Iterator[Run]:
    """All of part a."""
    yield Run("a/held-out-teacher/0", HELD_OUT, teacher(0), wave=-1)
    for number, data in enumerate(CANDIDATES.values()):
        if data != HELD_OUT:
            yield Run(f"a/candidate/{number}", data, teacher(0), wave=-1)
    yield from _search()
    for k in SEEDS:
        yield Run(f"a/teacher/{k}", ALL, teacher(k), wave=3 * k)
        yield Run(f"a/plain/{k}", ALL, supervised(STUDENT, seed=k), wave=3 * k)
        yield from _students(k)
        yield from _deprived(k)
        yield from _few(k)
    yield from _ensemble()


def _search() -> Iterator[Run]:
    """What validation says of T, and of how the student is trained."""
    by = ("a/held-out-teacher/0",)
    for t in TEMPERATURES:
        yield Run(f"a/held-out-kd-{t}/0", HELD_OUT, soft(STUDENT, t, seed=0), by, wave=2)
    for number, training in enumerate(SEARCH.values()):
        other = soft(STUDENT, 20, seed=0, training=training)
        yield Run(f"a/search/{number}", HELD_OUT, other, by, wave=2)


def _students(k: int) -> Iterator[Run]:
    """Whole transfer set: 800 units over T, with the teacher's jitter, logits, 30 units over T."""
    by = (f"a/teacher/{k}",)
    for t in TEMPERATURES:
        name = f"a/kd-{t}/{k}"
        yield Run(name, ALL, soft(STUDENT, t, seed=k), by, wave=3 * k)
    jitter, epochs = {"augment": JITTER}, JITTERED_EPOCHS
    jittered = soft(STUDENT, 20, seed=k, training=jitter, epochs=epochs)
    yield Run(f"a/jittered-20/{k}", ALL, jittered, by, wave=3 * k)
    plain = supervised(STUDENT, seed=k, training=STUDENT_TRAINING | jitter, epochs=epochs)
    yield Run(f"a/jittered-plain/{k}", ALL, plain, wave=3 * k)
    method = {"name": "logits"}
    logits = job(STUDENT, method, STUDENT_TRAINING, seed=k, epochs=STUDENT_EPOCHS)
    yield Run(f"a/logits/{k}", ALL, logits, by, wave=3 * k + 1)
    small = supervised(SMALL, seed=k)
    yield Run(f"a/small-plain/{k}", ALL, small, wave=3 * k + 1)
    for t in SMALL_TEMPERATURES:
        yield Run(f"a/small-{t}/{k}", ALL, soft(SMALL, t, seed=k), by, wave=3 * k + 1)


def _deprived(k: int) -> Iterator[Run]:
    """Without any 3; and only 7s and 8s. The engine repairs the bias, chosen on validation."""
    for name, classes in (("no-3", [3]), ("only-7-8", [0, 1, 2, 3, 4, 5, 6, 9])):
        lacking = soft(STUDENT, 20, seed=k, transfer={"exclude_classes": classes})
        yield Run(f"a/{name}/{k}", HELD_OUT, lacking, ("a/held-out-teacher/0",), wave=3 * k + 2)


def _few(k: int) -> Iterator[Run]:
    """3 % of the data, other ones for each seed: hard against soft targets, stopped early on
    validation as in section 6."""
    early = {"transfer": {"fraction": 0.03, "seed": k}, "select": {"metric": "validation/accuracy"}}
    hard = supervised(STUDENT, seed=k, epochs=FEW_EPOCHS, **early)
    yield Run(f"a/few-hard/{k}", HELD_OUT, hard, wave=3 * k + 2)
    taught = soft(STUDENT, 4, seed=k, epochs=FEW_EPOCHS, **early)
    yield Run(f"a/few-soft/{k}", HELD_OUT, taught, ("a/held-out-teacher/0",), wave=3 * k + 2)


def _ensemble() -> Iterator[Run]:
    """Ten teachers with a shorter schedule, and students of all ten together."""
    names = tuple(f"a/member/{i}" for i in range(MEMBERS))
    for i, name in enumerate(names):
        yield Run(name, ALL, teacher(100 + i, MEMBER_EPOCHS), wave=9)
    for k in SEEDS:
        yield Run(f"a/ensemble/{k}", ALL, soft(STUDENT, 20, seed=k), names, wave=10)
