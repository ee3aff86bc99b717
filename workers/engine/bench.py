"""The bench: what a plan may use."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app.spec.job import JobSpec, Select
from app.spec.jobfile import TeacherFile
from app.spec.networks import Network
from app.spec.training import Training
from workers.data.prepared import Prepared
from workers.engine.cache import Cache
from workers.engine.device import Arithmetic
from workers.engine.evaluate import predict, validation_metrics
from workers.engine.keep import Keep
from workers.engine.reporter import Reporter, Stopped
from workers.engine.soft_targets import PermutedTargets, RecordedTargets, SoftTargets, Teacher
from workers.engine.stages import Objective, Stage, mix
from workers.engine.transfer import Transfer, transfer_rows
from workers.networks import build
from workers.networks.preprocess import Preprocessed
from workers.networks.quantized import floats
from workers.networks.store import load_network

Targets = SoftTargets | RecordedTargets | PermutedTargets


@dataclass(frozen=True)
class Resident:
    """A split on the device."""

    inputs: Tensor
    labels: Tensor | None
    recorded: Tensor | None
    """Teacher logits that came with the data set, N x C."""


class Teaching:
    """Says how far a pass of the teachers is, a few times a second, and ends it when asked to."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.last = 0.0

    def __call__(self, done: int, examples: int) -> None:
        if self.reporter.stopping:
            raise Stopped
        if done >= examples:
            self.reporter.send("phase", phase="training")  # later epochs teach between steps
        elif time.monotonic() - self.last > 0.25:
            self.last = time.monotonic()
            self.reporter.send("phase", phase=f"teaching ({done:,} of {examples:,} examples)")


class Waiting:
    """Says that another job makes what this one needs, once a second, and ends when asked to."""

    def __init__(self, reporter: Reporter, phase: str) -> None:
        self.reporter = reporter
        self.phase = phase
        self.last = 0.0

    def __call__(self) -> None:
        if self.reporter.stopping:
            raise Stopped
        if time.monotonic() - self.last > 1.0:
            self.last = time.monotonic()
            self.reporter.send("phase", phase=self.phase)


class Data:
    """The prepared data set, its splits moved to the device when first asked for."""

    def __init__(self, prepared: Prepared, device: torch.device) -> None:
        self.prepared = prepared
        self.device = device
        self.names = tuple(prepared.names)
        self._splits: dict[str, Resident] = {}

    def split(self, name: str) -> Resident:
        if name not in self._splits:
            stored = self.prepared.split(name)
            # torch indexes no uint16 on an accelerator, and mirrors none anywhere.
            x = stored.x.int() if stored.x.dtype == torch.uint16 else stored.x
            self._splits[name] = Resident(
                x.to(self.device),
                None if stored.y is None else stored.y.to(self.device),
                None if stored.teacher_logits is None else stored.teacher_logits.to(self.device),
            )
        return self._splits[name]


@dataclass(frozen=True)
class Bench:
    """Frozen teachers, their soft targets, fresh students and the data, for one seed."""

    job: JobSpec
    data: Data
    data_sha256: str
    preprocess: dict[str, Any]
    teachers: Sequence[Teacher]
    arithmetic: Arithmetic
    cache: Cache
    reporter: Reporter
    student_file: Path | None
    seed: int
    keep: Keep
    prefix: str = ""
    """Put before the metrics' names."""
    permuted: bool = False
    """Whether soft targets lose their class similarities, for a control."""

    def for_run(self, seed: int, prefix: str) -> "Bench":
        """The same bench for another student."""
        return replace(self, seed=seed, prefix=prefix)

    @property
    def training(self) -> Training:
        return self.job.training.model_copy(update={"seed": self.seed})

    def student(self, stage: int = 0) -> Preprocessed:
        """A fresh student, its weights given by (seed, stage), or those of the job's file."""
        if self.student_file is not None:
            network = floats(load_network(self.job.student.network, self.student_file))
        else:
            network = build(self.job.student.network, seed=mix("weights", self.seed, stage))
        return self.place(Preprocessed(network, **self.preprocess))

    def peer(self, number: int, network: Network | None = None) -> Preprocessed:
        """A fresh network beside the student (number 0), like it unless another is given; its
        weights are given by (seed, number), whatever file the student starts from."""
        spec = network or self.job.student.network
        net = build(spec, seed=mix("weights", self.seed, "peer", number))
        return self.place(Preprocessed(net, **self.preprocess))

    @property
    def taught(self) -> bool:
        """Whether there are teachers, or a teacher's recorded outputs, to learn from."""
        return bool(self.teachers) or self.data.split("train").recorded is not None

    def place(self, network: Preprocessed) -> Preprocessed:
        """On the device; convolutions in the memory layout that runs fastest."""
        network.to(self.arithmetic.device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def freeze(self, network: nn.Module) -> nn.Module:
        """A teacher of any module: no gradients, and eval mode for good."""
        return network.requires_grad_(False).eval()

    def once(self, key: str, compute: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Costly work without gradients, done once a job: all seeds share it, and resumed runs."""
        return self.keep.once(key, compute)

    def transfer(self) -> Transfer:
        """The job's transfer set, as the job's views."""
        train = self.data.split("train")
        rows = transfer_rows(train.labels, len(train.inputs), self.job.transfer)
        if rows is not None:
            rows = rows.to(train.inputs.device)
        return Transfer(train.inputs, train.labels, self.training, rows)

    def teacher(self, network: Preprocessed) -> Teacher:
        """A network that this job has trained as a teacher: frozen, and named by its weights."""
        digest = hashlib.sha256(json.dumps(self.preprocess, sort_keys=True).encode())
        digest.update(network.network.spec.model_dump_json().encode())
        for name, value in sorted(network.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        self.freeze(network)
        return Teacher(network, digest.hexdigest())

    def soft_targets(
        self,
        transfer: Transfer,
        teachers: Sequence[Teacher] | None = None,
        *,
        exact: bool = False,
    ) -> Targets:
        """The teachers' logits on a transfer set, from the cache where they are known: of the
        job's teachers, or of those given. `exact`: made and kept in float32 at any precision."""
        teachers = self.teachers if teachers is None else teachers
        targets = self._targets(transfer, teachers, exact=exact)
        return PermutedTargets(targets, self.seed) if self.permuted else targets

    def _targets(
        self, transfer: Transfer, teachers: Sequence[Teacher], *, exact: bool
    ) -> SoftTargets | RecordedTargets:
        if not teachers:
            recorded = self.data.split("train").recorded
            if recorded is None:
                raise ValueError("this job has no teacher and its data set brings no outputs")
            return RecordedTargets(recorded, transfer)
        view = {
            "data": self.data_sha256,
            "transfer": self.job.transfer.model_dump(mode="json", exclude={"bias_repair"}),
            "augment": [step.model_dump(mode="json") for step in self.training.augment],
            "view_seed": self.training.view_seed if self.training.augment else 0,
        }
        return SoftTargets(
            teachers,
            transfer,
            view,
            self.cache,
            Arithmetic(self.arithmetic.device, "fp32") if exact else self.arithmetic,
            Teaching(self.reporter),
            Waiting(self.reporter, "teaching (another job has begun the same pass)"),
            exact=exact,
        )

    def teacher_classes(self, split: str) -> Tensor | None:
        """What the teachers (or their recorded outputs) say of a split: N class indices."""
        logits = self.teacher_logits(split)
        if not logits:
            return None
        return torch.stack([z.softmax(dim=1) for z in logits]).mean(dim=0).argmax(dim=1)

    def teacher_logits(self, split: str) -> list[Tensor]:
        """Each teacher's logits on a held-out split, in float32."""
        examples = self.data.split(split)
        if not self.teachers:
            return [] if examples.recorded is None else [examples.recorded]
        exact = Arithmetic(self.arithmetic.device, "fp32")
        return [predict(teacher.network, examples.inputs, exact) for teacher in self.teachers]

    def evaluator(self, network: nn.Module) -> Callable[[], dict[str, float]] | None:
        """Metrics on the validation split; None when there is no such split."""
        if "validation" not in self.data.names:
            return None
        examples = self.data.split("validation")
        teacher_classes = self.teacher_classes("validation")

        def evaluate() -> dict[str, float]:
            logits = predict(network, examples.inputs, self.arithmetic)
            return validation_metrics(logits, examples.labels, teacher_classes)

        return evaluate

    @property
    def select(self) -> Select:
        """The job's choice, or what its data allow."""
        if self.job.select is not None:
            return self.job.select
        validated = "validation" in self.data.names
        labelled = validated and self.data.split("validation").labels is not None
        if validated and not labelled and not self.teachers:  # recorded outputs may end at train
            validated = self.data.split("validation").recorded is not None
        return Select.auto(validated=validated, labelled=labelled)

    def stage(
        self,
        student: Preprocessed,
        objective: Objective,
        transfer: Transfer,
        *,
        name: str = "",
        index: int = 0,
        targets: Targets | None = None,
    ) -> Stage:
        """A stage that trains a student over the transfer set, with the job's own settings."""
        return Stage(
            name="/".join(part for part in (self.prefix, name) if part),
            trainee=student,
            objective=objective,
            transfer=transfer,
            training=self.training,
            index=index,
            select=self.select,
            after_step=lambda _clock: student.network.constrain(),
            before_epoch=targets.prepare if targets is not None else lambda _epoch: None,
            evaluate=self.evaluator(student),
        )


def load_teacher(file: TeacherFile, preprocess: dict[str, Any]) -> Preprocessed:
    """A teacher's network with its own preprocessing, or else the data set's."""
    own = file.preprocess.model_dump() if file.preprocess else preprocess
    network = load_network(file.network, file.file)
    return Preprocessed(network, **own)
