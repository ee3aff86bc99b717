"""The teachers' outputs on a transfer set: computed once, kept by content, shared by later jobs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from workers.engine.cache import Cache, content_key
from workers.engine.device import Arithmetic
from workers.engine.logit_losses import permute_alike
from workers.engine.losses import wide
from workers.engine.stages import Batch, mix
from workers.engine.transfer import Transfer
from workers.networks.preprocess import Preprocessed

PASS_BATCH = 512
"""Always the same, so that a result never depends on the job that first asked for it."""


@dataclass(frozen=True)
class Teacher:
    """A frozen network in eval mode, and the name of its content."""

    network: Preprocessed
    identity: str


class SoftTargets:
    """Each teacher's logits for the view that a batch shows.

    What is stored are logits, in float32 when every epoch shows the same view and in float16 when
    there is a file for each epoch; they are rounded before their first use too. Probabilities at T,
    and an ensemble's mean, are formed on reading, so every T and every method shares one pass.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        transfer: Transfer,
        view: dict[str, object],
        cache: Cache,
        arithmetic: Arithmetic,
        progress: Callable[[int, int], None],
        waiting: Callable[[], None] = lambda: None,
        *,
        exact: bool = False,
    ) -> None:
        """`view` names data, augmentation and view seed; `progress` hears (examples done, all), and
        `waiting` is called while another job runs the pass. `exact` stores float32 always."""
        self.teachers = teachers
        self.transfer = transfer
        self.view = view
        self.cache = cache
        self.arithmetic = arithmetic
        self.progress = progress
        self.waiting = waiting
        half = transfer.views.many and not exact
        self.stored: type[np.floating] = np.float16 if half else np.float32
        self.passes = 0
        """Teacher passes run by this process; zero when all was in the cache."""
        self._epoch: int | None = None
        self._logits: list[Tensor] = []

    def prepare(self, epoch: int) -> None:
        """Loads the targets of an epoch, after a pass of the teachers where there are none yet."""
        view = epoch if self.transfer.views.many else 0
        if view != self._epoch:
            self._logits = [self._load(teacher, view) for teacher in self.teachers]
            self._epoch = view

    def __call__(self, batch: Batch) -> list[Tensor]:
        """N x C logits, one tensor a teacher."""
        self.prepare(batch.epoch)
        return [logits[batch.index] for logits in self._logits]

    def _load(self, teacher: Teacher, epoch: int) -> Tensor:
        key = content_key(
            teacher=teacher.identity,
            view=self.view,
            epoch=epoch,
            device=self.arithmetic.device.type,
            precision=self.arithmetic.precision,
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            stored=self.stored.__name__,
        )
        with self.cache.turn("soft_targets", key, self.waiting) as path:
            logits = None if path is None else _read(path)
            if logits is None:
                logits = self._pass(teacher.network, epoch)
                self.cache.put("soft_targets", key, partial(_write, logits))
        return torch.from_numpy(logits).to(self.transfer.device).float()

    def _pass(self, network: nn.Module, epoch: int) -> np.ndarray:
        self.passes += 1
        everything = torch.arange(len(self.transfer), device=self.transfer.device)
        outputs = []
        with torch.inference_mode(), self.arithmetic():
            for index in everything.split(PASS_BATCH):
                outputs.append(wide(network(self.transfer.batch(index, epoch).inputs)).cpu())
                self.progress(int(index[-1]) + 1, len(self.transfer))
        return torch.cat(outputs).numpy().astype(self.stored)


def _write(logits: np.ndarray, part: Path) -> None:
    with part.open("wb") as file:
        np.save(file, logits, allow_pickle=False)


def _read(path: Path) -> np.ndarray | None:
    """None where the file is damaged or gone."""
    try:
        return cast(np.ndarray, np.load(path, allow_pickle=False))
    except (OSError, EOFError, ValueError) as error:
        print(f"soft targets are made anew: {error}", flush=True)  # noqa: T201  (the job's log)
        return None


class RecordedTargets:
    """Teacher outputs that came with the data set: a black-box teacher needs no checkpoint.

    Recorded probabilities become logits by their logarithm (softmax at T = 1 gives them back).
    """

    def __init__(self, outputs: Tensor, transfer: Transfer) -> None:
        """`outputs` N x C logits for every row of the train split."""
        rows = transfer.rows
        self._logits = (outputs if rows is None else outputs[rows]).to(transfer.device)

    def prepare(self, epoch: int) -> None:
        """Nothing: they are there."""

    def __call__(self, batch: Batch) -> list[Tensor]:
        return [self._logits[batch.index]]


class PermutedTargets:
    """Others' targets without their class similarities: a control.

    The largest logit of an example stays in its place and the others are permuted, anew in each
    epoch (Furlanello et al. 2018, equation 10).
    """

    def __init__(self, targets: SoftTargets | RecordedTargets, seed: int) -> None:
        self.targets = targets
        self.seed = seed

    def prepare(self, epoch: int) -> None:
        self.targets.prepare(epoch)

    def __call__(self, batch: Batch) -> list[Tensor]:
        # No other batch of the epoch begins with this example, and a resumed run's does so too.
        first = int(batch.index[0])
        seed = mix("permute", self.seed, batch.epoch, first)
        return permute_alike(self.targets(batch), torch.Generator().manual_seed(seed))
