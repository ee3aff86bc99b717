"""Part a: MNIST as in Hinton, Vinyals and Dean 2015, arXiv 1503.02531, sections 3 and 6.

Protocol. Whatever had to be chosen was chosen on 10,000 validation examples cut from train
(`held-out`, data set `mnist`), from runs that never saw them. The reported runs then train on all
60,000 (`mnist-all`) with those settings and no selection at all: the last epoch counts. Student
number k learns from teacher number k, so that the spread is that of both. The two class-deprived
transfer sets choose their bias on validation and so stay on the 50,000.
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.reproduce.runs import Run

SEEDS = (0, 1, 2)
TEMPERATURES = (20, 4, 8, 2, 1)
LONG_TEMPERATURES = (8, 20, 4)
SMALL_TEMPERATURES = (4, 20, 2.5, 8, 2, 1)
MEMBERS = 10

# The budget: epochs of each kind of run.
CANDIDATE_EPOCHS = 60
TEACHER_EPOCHS = 200
MEMBER_EPOCHS = 60
STUDENT_EPOCHS = 60
LONG_EPOCHS = 200  # of a student that is given as long as its teacher had
FEW_EPOCHS = 300

LAST = {"metric": "last"}
JITTER = [{"name": "shift", "pixels": 2}]

TEACHER_TRAINING: dict[str, Any] = {
    "batch_size": 256,
    "optimizer": {"name": "adam", "lr": 1e-3},
    "schedule": {"name": "cosine"},
    "augment": JITTER,
}
TEACHER = {"hidden": [1200, 1200], "dropout": 0.3, "input_dropout": 0.1, "max_norm": 3.0}

CANDIDATES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dropout 0.3, inputs 0.1": (TEACHER, TEACHER_TRAINING),
    "dropout 0.5, inputs 0.2": (TEACHER | {"dropout": 0.5, "input_dropout": 0.2}, TEACHER_TRAINING),
    "dropout 0.4, inputs 0": (TEACHER | {"dropout": 0.4, "input_dropout": 0.0}, TEACHER_TRAINING),
    "adam 0.002": (TEACHER, TEACHER_TRAINING | {"optimizer": {"name": "adam", "lr": 2e-3}}),
    "sgd 0.02": (TEACHER, TEACHER_TRAINING | {"optimizer": {"name": "sgd", "lr": 0.02}}),
}
"""Teachers to choose from on validation; the one that TEACHER is set to stands first."""

STUDENT_TRAINING: dict[str, Any] = {
    "batch_size": 128,
    "optimizer": {"name": "adam", "lr": 1e-3},
    "schedule": {"name": "cosine"},
}
STUDENT = {"hidden": [800, 800]}
SMALL = {"hidden": [30, 30]}


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
    epochs = more.pop("epochs", STUDENT_EPOCHS)
    return job(network, method, STUDENT_TRAINING, seed=seed, epochs=epochs, **more)


def teacher(seed: int, epochs: int = TEACHER_EPOCHS) -> dict[str, Any]:
    return supervised(TEACHER, seed=seed, training=TEACHER_TRAINING, epochs=epochs)


def runs() -> Iterator[Run]:
    """All of part a."""
    for number, (network, training) in enumerate(CANDIDATES.values()):
        epochs = CANDIDATE_EPOCHS
        candidate = supervised(network, seed=0, training=training, epochs=epochs)
        yield Run(f"a/candidate/{number}", "mnist", candidate, wave=-1)
    yield Run("a/held-out-teacher/0", "mnist", teacher(0), wave=1)
    for k in SEEDS:
        yield Run(f"a/teacher/{k}", "mnist-all", teacher(k), wave=3 * k)
        yield Run(f"a/plain/{k}", "mnist-all", supervised(STUDENT, seed=k), wave=3 * k)
        yield from _students(k)
        yield from _deprived(k)
        yield from _few(k)
    yield from _ensemble()


def _students(k: int) -> Iterator[Run]:
    """Whole transfer set: 800 units over T, some for longer, logits, 30 units over T."""
    by = (f"a/teacher/{k}",)
    for t in TEMPERATURES:
        name = f"a/kd-{t}/{k}"
        yield Run(name, "mnist-all", soft(STUDENT, t, seed=k), by, wave=3 * k)
    for t in LONG_TEMPERATURES:
        long = soft(STUDENT, t, seed=k, epochs=LONG_EPOCHS)
        yield Run(f"a/long-{t}/{k}", "mnist-all", long, by, wave=3 * k)
    plain = supervised(STUDENT, seed=k, epochs=LONG_EPOCHS)
    yield Run(f"a/long-plain/{k}", "mnist-all", plain, wave=3 * k)
    method = {"name": "logits"}
    logits = job(STUDENT, method, STUDENT_TRAINING, seed=k, epochs=STUDENT_EPOCHS)
    yield Run(f"a/logits/{k}", "mnist-all", logits, by, wave=3 * k + 1)
    small = supervised(SMALL, seed=k)
    yield Run(f"a/small-plain/{k}", "mnist-all", small, wave=3 * k + 1)
    for t in SMALL_TEMPERATURES:
        yield Run(f"a/small-{t}/{k}", "mnist-all", soft(SMALL, t, seed=k), by, wave=3 * k + 1)
    if k == 0:  # which T would have been chosen
        for t in TEMPERATURES:
            held_out = soft(STUDENT, t, seed=0)
            yield Run(f"a/held-out-kd-{t}/0", "mnist", held_out, ("a/held-out-teacher/0",), wave=2)


def _deprived(k: int) -> Iterator[Run]:
    """Without any 3; and only 7s and 8s. The engine repairs the bias, chosen on validation."""
    for name, classes in (("no-3", [3]), ("only-7-8", [0, 1, 2, 3, 4, 5, 6, 9])):
        lacking = soft(STUDENT, 20, seed=k, transfer={"exclude_classes": classes})
        yield Run(f"a/{name}/{k}", "mnist", lacking, ("a/held-out-teacher/0",), wave=3 * k + 2)


def _few(k: int) -> Iterator[Run]:
    """3 % of the data, other ones for each seed: hard against soft targets, stopped early on
    validation as in section 6."""
    early = {"transfer": {"fraction": 0.03, "seed": k}, "select": {"metric": "validation/accuracy"}}
    hard = supervised(STUDENT, seed=k, epochs=FEW_EPOCHS, **early)
    yield Run(f"a/few-hard/{k}", "mnist", hard, wave=3 * k + 2)
    taught = soft(STUDENT, 4, seed=k, epochs=FEW_EPOCHS, **early)
    yield Run(f"a/few-soft/{k}", "mnist", taught, ("a/held-out-teacher/0",), wave=3 * k + 2)


def _ensemble() -> Iterator[Run]:
    """Ten teachers with a shorter schedule, and students of all ten together."""
    names = tuple(f"a/member/{i}" for i in range(MEMBERS))
    for i, name in enumerate(names):
        yield Run(name, "mnist-all", teacher(100 + i, MEMBER_EPOCHS), wave=9)
    for k in SEEDS:
        yield Run(f"a/ensemble/{k}", "mnist-all", soft(STUDENT, 20, seed=k), names, wave=10)
