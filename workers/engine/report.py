"""The verdict: did distillation help? All on the same examples, in float32: held-out ones, or there
is no verdict."""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.spec.dataset import SplitName
from workers.engine import statistics
from workers.engine.evaluate import eval_mode
from workers.engine.losses import kl_divergence
from workers.networks import Net
from workers.networks.integers import Integers

LEVEL = 0.05
EXAMPLES: Mapping[SplitName, str] = {
    "test": "held-out",
    "validation": "validation",
    "train": "training",
}


@dataclass(frozen=True)
class Answers:
    """One side's answers on the reported split."""

    log_probabilities: Tensor
    """N x C."""
    labels: Tensor | None

    @property
    def classes(self) -> NDArray[np.int64]:
        return self.log_probabilities.argmax(dim=1).cpu().numpy()

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which of the N examples were answered correctly."""
        assert self.labels is not None  # noqa: S101
        return np.asarray(self.classes == self.labels.cpu().numpy())


def measures(answers: Answers, class_names: Sequence[str] | None) -> dict[str, Any]:
    """accuracy with its interval, errors, NLL, calibration, per class; empty without labels."""
    if answers.labels is None:
        return {"examples": len(answers.log_probabilities)}
    right = answers.right
    labels = answers.labels.cpu().numpy()
    log_p = answers.log_probabilities.double().cpu().numpy()
    low, high = statistics.wilson(int(right.sum()), len(right))
    confidence = np.exp(log_p.max(axis=1))
    classes = log_p.shape[1]
    seen = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels, right, minlength=classes)
    return {
        "accuracy": float(right.mean()),
        "interval": [low, high],
        "errors": int((~right).sum()),
        "examples": len(right),
        "nll": float(-log_p[np.arange(len(labels)), labels].mean()),
        "ece": statistics.calibration_error(confidence, right),
        "reliability": [
            asdict(part) for part in statistics.reliability(confidence, right) if part.examples
        ],
        "per_class": [
            {
                "class": c,
                "name": class_names[c] if class_names else str(c),
                "examples": int(seen[c]),
                "errors": int(seen[c] - hits[c]),
                "accuracy": float(hits[c] / seen[c]) if seen[c] else None,
            }
            for c in range(classes)
        ],
    }


def cost(network: nn.Module, spec: Any, example: Tensor) -> dict[str, Any]:
    """parameters, flops (2 x multiply-accumulates an example), bytes of all tensors, latency."""
    return {
        "parameters": spec.parameters,
        "flops": spec.flops,
        "bytes": sum(t.numel() * t.element_size() for t in network.state_dict().values()),
        "latency_ms": latency_ms(network, example),
    }


def latency_ms(network: nn.Module, example: Tensor, runs: int = 30) -> float:
    """Median time of one example on this machine's CPU, in milliseconds."""
    network = copy.deepcopy(network).cpu()
    example = example[:1].cpu()
    times = []
    with eval_mode(network), torch.inference_mode():
        for _ in range(runs + 5):
            began = time.perf_counter()
            network(example)
            times.append(time.perf_counter() - began)
    return round(1000 * float(np.median(times[5:])), 4)


def fidelity(student: Answers, teacher: Answers) -> dict[str, float]:
    """How closely the student follows its teacher: agreement, and KL(teacher || student) at T=1."""
    return {
        "agreement": float((student.classes == teacher.classes).mean()),
        "kl_to_teacher": float(kl_divergence(teacher.log_probabilities, student.log_probabilities)),
    }


def precision(network: Net, student: Answers, before: Answers | None) -> dict[str, Any]:
    """How a student is quantised, whether this CPU multiplies its integers as such, and what that
    changed: accuracy less that of the same student at full precision, where there was one."""
    assert network.quantization is not None  # noqa: S101
    layers = [layer for layer in network.modules() if isinstance(layer, Integers)]
    told = network.quantization.model_dump(mode="json") | {
        "layers": list(network.quantization.layers(network.spec)),
        "integer_products": all(layer.multiplies_integers for layer in layers),
    }
    if before is not None:
        told["agreement"] = float((student.classes == before.classes).mean())
        if before.labels is not None:
            change, interval = statistics.paired_difference(student.right, before.right)
            p = statistics.mcnemar_p(student.right, before.right)
            told["difference"] = {"accuracy": change, "interval": list(interval), "mcnemar_p": p}
    return told


@dataclass(frozen=True)
class Pair:
    """A student and its matched baseline of the same seed."""

    seed: int
    student: Answers
    baseline: Answers


def difference(pairs: Sequence[Pair]) -> dict[str, Any]:
    """student - baseline in accuracy. One or two pairs: of the first pair's runs, over examples.

    Three and more: of the method. Other seeds and other test examples would both move the mean, so
    there is a t-test over seeds and one over examples (each one's mean over the seeds), and the
    less certain of the two counts, with its interval.
    """
    per_seed: list[dict[str, Any]] = []
    for pair in pairs:
        change, interval = statistics.paired_difference(pair.student.right, pair.baseline.right)
        per_seed.append(
            {
                "seed": pair.seed,
                "student_accuracy": float(pair.student.right.mean()),
                "baseline_accuracy": float(pair.baseline.right.mean()),
                "accuracy": change,
                "interval": list(interval),
                "mcnemar_p": statistics.mcnemar_p(pair.student.right, pair.baseline.right),
            }
        )
    result: dict[str, Any] = {
        key: per_seed[0][key] for key in ("accuracy", "interval", "mcnemar_p")
    }
    result["p"] = result["mcnemar_p"]
    result["over"] = "examples"
    if len(pairs) >= 3:
        by_example = np.mean(
            [pair.student.right.astype(float) - pair.baseline.right for pair in pairs], axis=0
        )
        tests = {
            "seeds": statistics.mean_interval([row["accuracy"] for row in per_seed]),
            "examples": statistics.mean_interval(by_example),
        }
        mean, interval, p = max(tests.values(), key=lambda test: test[2])
        result |= {"accuracy": mean, "interval": list(interval), "p": p, "over": "seeds"}
        result |= {f"p_{over}": test[2] for over, test in tests.items()}
    return {**result, "seeds": per_seed}


def doubt_of_teacher(teacher: Answers, baseline: Answers) -> str | None:
    """What to look at when a student that never heard the teacher knows more than it does."""
    gap, _ = statistics.paired_difference(teacher.right, baseline.right)
    if gap >= 0 or statistics.mcnemar_p(teacher.right, baseline.right) >= LEVEL:
        return None
    return (
        f"The teacher itself has {100 * teacher.right.mean():.2f} % here, less than the "
        f"{100 * baseline.right.mean():.2f} % of the student without it: were its inputs "
        "normalised as the data set's are? If not, register it again with its own preprocess."
    )


def verdict(
    change: dict[str, Any],
    pairs: Sequence[Pair],
    split: SplitName = "test",
    *,
    chosen: bool = True,
) -> tuple[str, str]:
    """helped, hurt or not distinguishable, and the sentence that says why. `chosen`: epochs were
    selected on validation.

    What both were trained on distinguishes nothing: new examples could be answered otherwise.
    """
    gain, p = change["accuracy"], change["p"]
    told = split != "train" and p < LEVEL
    word = "not distinguishable" if not told else "helped" if gain > 0 else "hurt"
    low, high = (f"{100 * bound:+.2f}" for bound in change["interval"])
    numbers = f"{100 * gain:+.2f} points of accuracy, 95 % interval {low} to {high}"
    if change["over"] == "seeds":
        student, baseline = (
            100 * np.mean([row[f"{side}_accuracy"] for row in change["seeds"]])
            for side in ("student", "baseline")
        )
        sentence = (
            f"Over {len(pairs)} seeds the distilled student has {student:.2f} %, the same student "
            f"trained without the teacher {baseline:.2f} %: {numbers} (paired t-tests: "
            f"p = {change['p_seeds']:.2g} over seeds, {change['p_examples']:.2g} over examples)"
        )
    else:
        first = pairs[0]
        sentence = (
            f"On {len(first.student.right):,} {EXAMPLES[split]} examples the distilled student "
            f"made {int((~first.student.right).sum()):,} errors, the same student trained without "
            f"the teacher {int((~first.baseline.right).sum()):,} ({numbers}, McNemar p = {p:.2g})"
        )
    if split == "train":
        return word, (
            f"{sentence}. Both were trained on these examples, and the data set holds out no "
            "others: whether distillation helps on new ones cannot be told."
        )
    sentence += {
        "helped": ": distillation helped.",
        "hurt": ": distillation hurt.",
        "not distinguishable": ": the difference is not distinguishable from chance.",
    }[word]
    if split == "validation":
        sentence += (
            " There is no test split: epochs are chosen by these examples too, so that both may do "
            "less well on new ones."
            if chosen
            else " There is no test split."
        )
    if change["over"] == "examples":
        sentence += (
            " This speaks of these two runs only; three seeds or more would speak of the method."
        )
    return word, sentence
