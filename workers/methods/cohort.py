"""Networks that train side by side on the same batches."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from torch import nn

from workers.engine.bench import Bench, Targets
from workers.engine.evaluate import predict
from workers.engine.stages import Stage, Turn
from workers.engine.transfer import Transfer
from workers.methods.observe import accuracy
from workers.networks.preprocess import Preprocessed


class Cohort(nn.Module):
    """The student and its peers, each with weights of its own."""

    def __init__(self, peers: Sequence[Preprocessed]) -> None:
        """`peers` in order, the student first."""
        super().__init__()
        self.peers = nn.ModuleList(peers)

    @property
    def networks(self) -> list[Preprocessed]:
        """In order, the student first."""
        return [cast(Preprocessed, peer) for peer in self.peers]

    @property
    def student(self) -> Preprocessed:
        return self.networks[0]

    def constrain(self) -> None:
        for network in self.networks:
            network.network.constrain()


def cohort(bench: Bench) -> Cohort:
    """A fresh cohort: weights that started equal would stay equal, and teach nothing."""
    others = bench.job.method.peers_of(bench.job.student.network)
    peers = [bench.peer(k, network) for k, network in enumerate(others, start=1)]
    return Cohort([bench.student(), *peers])


def called(k: int) -> str:
    """What peer k's terms are logged under; the student's stand alone."""
    return f"peer/{k}" if k else ""


def cohort_stage(
    bench: Bench,
    trainee: Cohort,
    turns: Sequence[Turn],
    transfer: Transfer,
    targets: Targets | None = None,
) -> Stage:
    """One stage of a cohort, selected by its student's metrics, which hands on the student."""
    stage = bench.stage(trainee.student, turns[0].objective, transfer, targets=targets)
    return replace(
        stage,
        trainee=trainee,
        turns=turns,
        after_step=lambda _clock: trainee.constrain(),
        evaluate=_evaluator(bench, trainee),
        deliver=lambda _trainee: trainee.student,
    )


def _evaluator(bench: Bench, trainee: Cohort) -> Callable[[], dict[str, float]] | None:
    """The student's metrics on the validation split, and each peer's accuracy."""
    of_student = bench.evaluator(trainee.student)
    if of_student is None:
        return None
    examples = bench.data.split("validation")
    labels = examples.labels

    def evaluate() -> dict[str, float]:
        metrics = of_student()
        for k, network in enumerate(trainee.networks[1:], start=1):
            if labels is not None:
                logits = predict(network, examples.inputs, bench.arithmetic)
                metrics[f"validation/{called(k)}/accuracy"] = float(accuracy(logits, labels))
        return metrics

    return evaluate
