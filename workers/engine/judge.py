"""What a job's students came to: their answers, repaired, compared, and the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.spec.dataset import SplitName
from app.spec.job import JobSpec
from workers.engine.attribution import attribution
from workers.engine.bench import Bench, Data
from workers.engine.compare import Compared
from workers.engine.conduct import Trained
from workers.engine.device import Arithmetic
from workers.engine.evaluate import predict, validation_metrics
from workers.engine.losses import log_soften, log_soften_ensemble
from workers.engine.repair import apply_bias, best_bias
from workers.engine.report import (
    Answers,
    Pair,
    cost,
    difference,
    doubt_of_teacher,
    fidelity,
    measures,
    precision,
    verdict,
)
from workers.networks.preprocess import Preprocessed


@dataclass
class Judge:
    """Evaluates the sides on the reported split, in float32. Selection has not seen test; where
    there is no test split, the report says what its examples were used for besides."""

    bench: Bench
    data: Data

    @property
    def job(self) -> JobSpec:
        return self.bench.job

    @property
    def split(self) -> SplitName:
        """The reported split: test, or what there is."""
        order: tuple[SplitName, ...] = ("test", "validation", "train")
        return next(name for name in order if name in self.data.names)

    def answers(self, network: torch.nn.Module) -> Answers:
        split = self.data.split(self.split)
        exact = Arithmetic(self.bench.arithmetic.device, "fp32")
        return Answers(log_soften(predict(network, split.inputs, exact), 1.0), split.labels)

    def repair(self, network: Preprocessed) -> dict[str, Any] | None:
        """Class-bias repair of a student whose transfer set lacked classes; the report's entry."""
        classes = self.job.transfer.exclude_classes
        if not classes or not self.job.transfer.bias_repair or "validation" not in self.data.names:
            return None
        validation = self.data.split("validation")
        if validation.labels is None:
            return None
        exact = Arithmetic(self.bench.arithmetic.device, "fp32")
        logits = predict(network, validation.inputs, exact)
        before = _by_class(self.answers(network), classes)
        bias = best_bias(logits, validation.labels, classes)
        apply_bias(network.network.classifier, classes, bias)
        after = _by_class(self.answers(network), classes)
        return {
            "classes": list(classes),
            "bias": bias,
            "chosen_on": "validation",
            "before": before,
            "after": after,
        }

    def validation(self, trained: Trained) -> dict[str, float] | None:
        """What jobs are compared by, so that the reported split is left alone: accuracy and loss
        where there are labels, agreement where there is a teacher; null without the split."""
        if "validation" not in self.data.names:
            return None
        examples = self.data.split("validation")
        exact = Arithmetic(self.bench.arithmetic.device, "fp32")
        logits = predict(trained.network, examples.inputs, exact)
        found = validation_metrics(
            logits, examples.labels, self.bench.teacher_classes("validation")
        )
        return {name.removeprefix("validation/"): value for name, value in found.items()}

    def teacher(self) -> tuple[Answers | None, dict[str, Any]]:
        logits = self.bench.teacher_logits(self.split)
        if not logits:
            return None, {}
        split = self.data.split(self.split)
        answers = Answers(log_soften_ensemble(logits, 1.0), split.labels)
        costs = [self.cost(teacher.network, split.inputs) for teacher in self.bench.teachers]
        total = {key: sum(one[key] for one in costs) for key in costs[0]} if costs else {}
        return answers, total

    def ensemble(self, networks: Sequence[Preprocessed], class_names: Any) -> dict[str, Any]:
        """Measures of the networks' mean probability, the cost of all, and each one's errors."""
        inputs = self.data.split(self.split).inputs
        members = [self.answers(network) for network in networks]
        log_p = [member.log_probabilities for member in members]
        together = Answers(log_soften_ensemble(log_p, 1.0), members[0].labels)
        costs = [self.cost(network, inputs) for network in networks]
        total = {key: sum(one[key] for one in costs) for key in costs[0]}
        each = [measures(member, None) for member in members]
        told = [
            {key: one[key] for key in one if key not in ("per_class", "reliability")}
            for one in each
        ]
        return measures(together, class_names) | total | {"members": told}

    def cost(self, network: Any, inputs: Tensor) -> dict[str, Any]:
        return cost(network, network.network.spec, inputs)

    def report(
        self, students: list[Trained], compared: Compared, class_names: Any
    ) -> tuple[dict[str, Any], dict[str, Answers | None]]:
        """The report, and each side's answers of the first seed."""
        first = students[0]
        teacher, teacher_cost = self.teacher()
        own, plain = self._each(students), self._each(compared.baselines)
        controls = {name: self._each(runs) for name, runs in compared.controls.items()}
        before = self.answers(first.full_precision) if first.full_precision else None
        cost_student = self.cost(first.network, self.data.split(self.split).inputs)

        def side(runs: Sequence[Trained], answers: Sequence[Answers]) -> dict[str, Any]:
            entry = measures(answers[0], class_names) | cost_student
            entry |= {"best_epoch": runs[0].best_epoch, "train_seconds": runs[0].seconds}
            return entry | (fidelity(answers[0], teacher) if teacher is not None else {})

        report: dict[str, Any] = {
            "name": self.job.name or "distillation",
            "method": self.job.method.model_dump(mode="json"),
            "split": self.split,
            "teacher": teacher and measures(teacher, class_names) | teacher_cost,
            "student": side(students, own),
            "baseline": side(compared.baselines, plain) if plain else None,
            **self._compared(students, own, plain, teacher, compared.why_not),
            **self._precision(first, own[0], before, class_names),
        }
        if first.ensemble:
            report["ensemble"] = self.ensemble(first.ensemble, class_names)
        if self.job.controls:
            report["controls"] = {name: {"failed": why} for name, why in compared.failed.items()}
            report["controls"] |= {
                name: side(compared.controls[name], answers) for name, answers in controls.items()
            }
        if controls and self.split != "train":
            without = {name: _right(answers) for name, answers in controls.items()}
            report["attribution"] = attribution(_right(own), _right(plain), without)
        sides = {
            "teacher": teacher,
            "student": own[0],
            "baseline": plain[0] if plain else None,
            **{f"control/{name}": answers[0] for name, answers in controls.items()},
            "full_precision": before,
        }
        return report, sides

    def _each(self, runs: Sequence[Trained]) -> list[Answers]:
        return [self.answers(run.network) for run in runs]

    def _compared(
        self,
        students: Sequence[Trained],
        own: Sequence[Answers],
        plain: Sequence[Answers],
        teacher: Answers | None,
        why_not: str | None,
    ) -> dict[str, Any]:
        """What the baselines say of the students."""
        if not plain:
            sentence = f"There is no baseline: {why_not}."
            return _said(None, "no baseline", why_not, sentence)
        pairs = [
            Pair(trained.seed, *answers)
            for trained, *answers in zip(students, own, plain, strict=True)
        ]
        change = difference(pairs)
        chosen = self.bench.select.metric != "last"
        word, sentence = verdict(change, pairs, self.split, chosen=chosen)
        if teacher is not None and (doubt := doubt_of_teacher(teacher, plain[0])):
            sentence += f" {doubt}"
        return _said(change, word, why_not, sentence)

    def _precision(
        self, trained: Trained, own: Answers, before: Answers | None, class_names: Any
    ) -> dict[str, Any]:
        """Of a student of integers: what they cost it."""
        found: dict[str, Any] = {}
        if trained.full_precision is not None and before is not None:
            inputs = self.data.split(self.split).inputs
            whole = measures(before, class_names) | self.cost(trained.full_precision, inputs)
            found["full_precision"] = whole
        if trained.network.network.quantization is not None:
            found["quantization"] = precision(trained.network.network, own, before)
        return found


def _said(
    change: dict[str, Any] | None, word: str, why_not: str | None, sentence: str
) -> dict[str, Any]:
    return {"difference": change, "verdict": word, "reason": why_not, "sentence": sentence}


def _right(runs: Sequence[Answers]) -> list[NDArray[np.bool_]]:
    return [answers.right for answers in runs]


def _by_class(answers: Answers, classes: tuple[int, ...]) -> dict[str, Any]:
    """accuracy, errors, and how many of the errors fall on the excluded classes."""
    assert answers.labels is not None  # noqa: S101
    wrong = ~answers.right
    excluded = torch.isin(answers.labels.cpu(), torch.tensor(classes)).numpy()
    return {
        "accuracy": float(answers.right.mean()),
        "errors": int(wrong.sum()),
        "errors_on_excluded": int((wrong & excluded).sum()),
        "examples_of_excluded": int(excluded.sum()),
    }
