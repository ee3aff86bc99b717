"""The first of two stages: the student's layers learn from the teacher's, the task comes later."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from app.spec.job import Select
from app.spec.methods.features import TwoStages
from workers.engine.bench import Bench
from workers.engine.evaluate import BATCH, eval_mode
from workers.engine.stages import Batch, Clock, Stage, Terms
from workers.engine.taps import Features, tapped_up_to
from workers.engine.transfer import Transfer
from workers.methods.featured import layers, owned_by
from workers.networks.preprocess import Preprocessed

HintLoss = Callable[[Features, Features], Tensor]
"""From the teacher's and the student's features to a scalar."""


def hint_stage(
    bench: Bench,
    method: TwoStages,
    student: Preprocessed,
    transfer: Transfer,
    loss: HintLoss,
    *,
    trainee: nn.Module,
) -> Stage:
    """Trains the student up to the last compared layer, and whatever else `trainee` owns."""
    teacher, names = layers(method, bench)

    def between(inputs: Tensor) -> Tensor:
        return loss(teacher.up_to(inputs), tapped_up_to(student, inputs, names))

    def objective(batch: Batch, _clock: Clock) -> Terms:
        hint = between(batch.inputs)
        return {"loss": hint, "hint_loss": hint}

    def evaluate() -> dict[str, float]:
        inputs = bench.data.split("validation").inputs
        with eval_mode(trainee), torch.no_grad(), bench.arithmetic():
            sums = [float(between(part)) * len(part) for part in inputs.split(BATCH)]
        return {"validation/hint_loss": sum(sums) / len(inputs)}

    epochs, _ = method.stage_epochs(bench.training.epochs)
    stage = bench.stage(student, objective, transfer, name="hint", index=0)
    return replace(
        owned_by(trainee, stage, student),
        training=bench.training.shortened(epochs).model_copy(
            update={"optimizer": method.hint_optimizer}
        ),
        select=Select(metric="last"),  # nothing can be classified yet
        evaluate=evaluate if "validation" in bench.data.names else None,
    )


def task_stage(bench: Bench, method: TwoStages, stage: Stage) -> Stage:
    """The stage over the epochs that the first one left."""
    _, epochs = method.stage_epochs(bench.training.epochs)
    return replace(stage, index=1, training=bench.training.shortened(epochs))
