"""The dark knowledge of a teacher: what its soft targets say beyond its answers.

Shapes: N examples, C classes. Everything is computed in float64 from float32 logits.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import torch
from scipy import optimize
from torch import Tensor

from app.spec.dataset import SplitName
from app.spec.jobfile import ReportFile
from app.spec.knowledge import (
    TEMPERATURES,
    Bin,
    Calibration,
    Confused,
    Knowledge,
    Reliability,
    Similarity,
    Softness,
)
from app.spec.problems import Refused
from workers.data.prepared import Prepared
from workers.engine import statistics
from workers.engine.bench import Data, Resident, load_teacher
from workers.engine.device import Arithmetic, make_faithful, pick_device
from workers.engine.evaluate import predict
from workers.engine.losses import hard_loss, log_soften
from workers.engine.transfer import evenly
from workers.engine.waiting import considerate
from workers.networks.preprocess import Preprocessed

MOST_EXAMPLES = 20_000
MOST_CELLS = 50_000_000
"""Logits held at a time: with many classes, fewer examples."""
MATRIX_CLASSES = 256
"""Up to so many the whole matrix is told."""
PAIRED_CLASSES = 4096
"""Up to so many pairs are looked for."""
PAIRS = 10
USEFUL_MASS = 0.1
CHUNK = 2048
HOTTEST, COLDEST = 100.0, 0.05

Outputs = tuple[Tensor, Tensor | None, int]
"""Logits N x C and labels N of the examples drawn from a split, and how many rows it has."""


@considerate()
def describe(file: ReportFile) -> Knowledge:
    """Runs the teacher, or reads what it answered before, on the splits that are needed."""
    if file.threads is not None:
        torch.set_num_threads(file.threads)
    device = pick_device(file.device)
    make_faithful(device)
    data = Data(Prepared.open(file.dataset.file), torch.device("cpu"))
    network = None
    if file.teacher is not None:
        preprocess = file.dataset.facts.preprocess.model_dump(mode="json")
        network = load_teacher(file.teacher, preprocess).to(device)
    found = {
        name: outputs
        for name in data.prepared.names
        if (outputs := _outputs(data.split(name), network, device)) is not None
    }
    if not found:
        raise Refused.invalid("no_teacher_outputs", "No split of the data set has outputs.")
    return knowledge(found)


def _outputs(split: Resident, network: Preprocessed | None, device: torch.device) -> Outputs | None:
    """None where nobody answered for the split."""
    if network is not None:
        rows = drawn(len(split.inputs), network.network.spec.classes)
        exact = Arithmetic(device, "fp32")
        logits = predict(network, split.inputs[rows].to(device), exact).cpu()
    elif split.recorded is not None:
        rows = drawn(len(split.inputs), split.recorded.shape[1])
        logits = split.recorded[rows]
    else:
        return None
    if not bool(logits.isfinite().all()):
        raise Refused.invalid(
            "non_finite_outputs", "For some examples the teacher answers no finite numbers."
        )
    return logits, None if split.labels is None else split.labels[rows], len(split.inputs)


def drawn(rows: int, classes: int) -> Tensor:
    """Positions spread evenly over a split, all of them where they are few."""
    most = max(min(MOST_EXAMPLES, MOST_CELLS // classes), 1)
    return evenly(rows, most)


def knowledge(found: dict[SplitName, Outputs]) -> Knowledge:
    """From the outputs by split, the first of which is what students learn from."""
    split, (logits, labels, rows) = next(iter(found.items()))
    targets = logits.argmax(dim=1) if labels is None else labels
    soft = softness(logits, targets)
    useful = next((one for one in soft if one.off_target >= USEFUL_MASS), soft[-1])
    return Knowledge(
        classes=logits.shape[1],
        split=split,
        examples=len(logits),
        rows=rows,
        target="answer" if labels is None else "label",
        softness=tuple(soft),
        similarity=similarity(logits, targets, useful.temperature),
        calibration=calibration(found),
    )


def softness(
    logits_NC: Tensor, targets_N: Tensor, temperatures: Sequence[float] = TEMPERATURES
) -> list[Softness]:
    """Entropy of softmax(z / T), and 1 - its entry of the target, averaged over examples."""
    told = []
    for temperature in temperatures:
        entropy = off = 0.0
        for log_p, targets in _softened(logits_NC, targets_N, temperature):
            p = log_p.exp()
            entropy -= float((p * log_p).sum())
            off += float((1 - p.gather(1, targets[:, None])).sum())
        entropy /= len(logits_NC)
        told.append(
            Softness(
                temperature=temperature,
                entropy=entropy,
                entropy_share=entropy / math.log(logits_NC.shape[1]),
                off_target=off / len(logits_NC),
            )
        )
    return told


def similarity(logits_NC: Tensor, targets_N: Tensor, temperature: float) -> Similarity:
    """How the mass off the target spreads: see `app.spec.knowledge.Similarity`."""
    classes = logits_NC.shape[1]
    matrix = None
    pairs: tuple[Confused, ...] = ()
    if classes <= PAIRED_CLASSES:
        shares = similarity_matrix(logits_NC, targets_N, temperature)
        pairs = tuple(most_confused(shares))
        if classes <= MATRIX_CLASSES:
            matrix = tuple(
                None if math.isnan(row[0]) else tuple(round(share, 6) for share in row)
                for row in shares.tolist()
            )
    chance = 1 / (classes - 1)
    return Similarity(temperature=temperature, chance=chance, matrix=matrix, confused=pairs)


def similarity_matrix(logits_NC: Tensor, targets_N: Tensor, temperature: float) -> Tensor:
    """C x C: sum over examples of class c of p_T[j], over the sum of 1 - p_T[c]; the diagonal is 0,
    and the row of a class without examples, or without mass elsewhere, is NaN."""
    classes = logits_NC.shape[1]
    mass = torch.zeros(classes, classes, dtype=torch.float64)
    for log_p, targets in _softened(logits_NC, targets_N, temperature):
        mass.index_add_(0, targets, log_p.exp())
    mass.fill_diagonal_(0)
    return mass / mass.sum(dim=1, keepdim=True)


def most_confused(shares_CC: Tensor) -> Iterator[Confused]:
    """The pairs with the largest mean of both entries; a class without a row counts by the other's
    entry alone."""
    classes = len(shares_CC)
    both = torch.nanmean(torch.stack([shares_CC, shares_CC.T]), dim=0).nan_to_num(0.0)
    first, second = torch.triu_indices(classes, classes, offset=1)
    values = both[first, second]
    for place in values.argsort(descending=True, stable=True)[:PAIRS].tolist():
        if values[place] > 0:
            pair = (int(first[place]), int(second[place]))
            yield Confused(classes=pair, similarity=float(values[place]))


def calibration(found: dict[SplitName, Outputs]) -> Calibration | None:
    """On the test split, T fitted on validation; on what there is, where one of them lacks."""
    labelled = {name: (z, y) for name, (z, y, _) in found.items() if y is not None}
    if not labelled:
        return None
    order: tuple[SplitName, ...] = ("test", "validation", "train")
    split = next(name for name in order if name in labelled)
    fitted_on: SplitName = "validation" if "validation" in labelled else split
    temperature = calibrating(*labelled[fitted_on])
    logits, labels = labelled[split]
    return Calibration(
        split=split,
        examples=len(labels),
        accuracy=float((logits.argmax(dim=1) == labels).double().mean()),
        plain=reliability(logits, labels, 1.0),
        temperature=temperature,
        fitted_on=fitted_on,
        calibrated=temperature and reliability(logits, labels, temperature),
    )


def reliability(logits_NC: Tensor, labels_N: Tensor, temperature: float) -> Reliability:
    """Of softmax(z / T): NLL, calibration error, and the bins that it comes from."""
    log_p = log_soften(logits_NC.double(), temperature)
    confidence = log_p.amax(dim=1).exp().numpy()
    right = (logits_NC.argmax(dim=1) == labels_N).numpy()
    return Reliability(
        nll=float(hard_loss(log_p, labels_N)),
        ece=statistics.calibration_error(confidence, right),
        bins=tuple(Bin(**asdict(part)) for part in statistics.reliability(confidence, right)),
    )


def calibrating(logits_NC: Tensor, labels_N: Tensor) -> float | None:
    """The T whose softmax has the least NLL. In 1 / T the NLL is convex, with the derivative mean
    of (sum p_T z - z[y]): its zero is the least. None where it has none between the bounds."""
    z = logits_NC.double()
    of_label = z.gather(1, labels_N[:, None]).squeeze(1)

    def slope(log_temperature: float) -> float:
        p = log_soften(z, math.exp(log_temperature)).exp()
        return float(((p * z).sum(dim=1) - of_label).mean())

    cold, hot = math.log(COLDEST), math.log(HOTTEST)
    if not slope(cold) > 0 > slope(hot):
        return None
    return math.exp(float(optimize.brentq(slope, cold, hot, xtol=1e-6)))


def _softened(
    logits_NC: Tensor, targets_N: Tensor, temperature: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """log softmax(z / T) in pieces, and their targets."""
    for logits, targets in zip(logits_NC.split(CHUNK), targets_N.split(CHUNK), strict=True):
        yield log_soften(logits.double(), temperature), targets
