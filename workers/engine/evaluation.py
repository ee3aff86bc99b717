"""One network on one split, with no training: what `POST /evaluations` answers."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.spec.dataset import SplitName
from app.spec.jobfile import PreparedFile, TeacherFile
from workers.data.prepared import Prepared
from workers.engine.bench import Data, load_teacher
from workers.engine.device import Arithmetic, make_faithful
from workers.engine.evaluate import predict
from workers.engine.losses import log_soften
from workers.engine.report import Answers, measures
from workers.engine.statistics import reliability

CONFUSIONS = 100
"""Pairs of classes told at most."""


def evaluate_checkpoint(
    subject: TeacherFile,
    dataset: PreparedFile,
    split: SplitName,
    class_names: Sequence[str] | None,
    device: torch.device,
) -> dict[str, Any]:
    """Accuracy, calibration and confusions in float32; the split must be labelled.

    Names of classes come from the network, or else from the dataset.
    """
    make_faithful(device)
    network = load_teacher(subject, dataset.facts.preprocess.model_dump())
    network.to(device)
    examples = Data(Prepared.open(dataset.file), device).split(split)
    logits = predict(network, examples.inputs, Arithmetic(device, "fp32"))
    answers = Answers(log_soften(logits, 1.0), examples.labels)
    found = measures(answers, class_names or dataset.facts.class_names)
    confidence = answers.log_probabilities.double().exp().amax(dim=1).cpu().numpy()
    assert answers.labels is not None  # noqa: S101  (the API has looked)
    return {
        **found,
        "reliability": [asdict(part) for part in reliability(confidence, answers.right)],
        "confusions": confusions(answers.labels.cpu().numpy(), answers.classes),
    }


def confusions(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> list[dict[str, int]]:
    """Which class was taken for which other, and how often; the most frequent first."""
    wrong = labels != predicted
    pairs, counts = np.unique(
        np.stack([labels[wrong], predicted[wrong]]), axis=1, return_counts=True
    )
    worst = np.argsort(-counts, kind="stable")[:CONFUSIONS]
    return [
        {"label": int(pairs[0, i]), "predicted": int(pairs[1, i]), "examples": int(counts[i])}
        for i in worst
    ]
