"""One job from its file to its artifacts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.spec import controls
from app.spec.dataset import SplitName
from app.spec.job import JobSpec
from app.spec.jobfile import JobFile, PreparedFile
from app.spec.problems import Refused
from workers.data.inspect import inspect_checkpoint
from workers.data.prepared import Prepared
from workers.engine import loop
from workers.engine.allocator import keep_memory
from workers.engine.attribution import attribution
from workers.engine.bench import Bench, Data, load_teacher
from workers.engine.cache import Cache
from workers.engine.compare import Compared, compare, wants_baseline
from workers.engine.conduct import ENGINE_VERSION, Conductor, Trained
from workers.engine.curves import Recorder
from workers.engine.device import Arithmetic, make_faithful, place, resolve
from workers.engine.evaluate import predict, validation_metrics
from workers.engine.keep import Keep
from workers.engine.losses import log_soften, log_soften_ensemble
from workers.engine.publish import Publisher
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
from workers.engine.reporter import Reporter, file_facts
from workers.engine.soft_targets import Teacher
from workers.engine.waiting import considerate
from workers.export.provenance import provenance
from workers.networks.preprocess import Preprocessed


@considerate()
def run_job(
    file: JobFile, dataset: PreparedFile, out: Path, cache: Cache, reporter: Reporter
) -> None:
    """Trains, evaluates and publishes. Raises Refused when the job itself fails, Stopped when
    the reporter asked for an end."""
    job = file.job
    keep_memory()
    reporter = recorder = Recorder(reporter, file.curves)
    reporter.send("phase", phase="validating")
    resolved = file.resolved or resolve(
        file.device, file.threads, job.training.precision, job.student.network.flops
    )
    began_on = resolved.device
    device, resolved = place(file.device, resolved, file.slot)
    if resolved.device != began_on:
        told = f"begun on {began_on}, goes on on {device}: not the same bytes as there"
        print(told, flush=True)  # noqa: T201  (into the job's log)
    reporter.send("resolved", **resolved.model_dump())
    torch.set_num_threads(resolved.threads)
    make_faithful(device)
    arithmetic = Arithmetic(device, resolved.precision)

    facts = dataset.facts
    preprocess = facts.preprocess.model_dump(mode="json")
    data = Data(Prepared.open(dataset.file), device)
    teachers = []
    hashes = {}
    for identity in job.teachers:
        entry = file.teachers[identity]
        sha256 = hashes[identity] = entry.sha256 or str(file_facts(entry.file)["sha256"])
        network = load_teacher(entry, preprocess)
        read = (entry.preprocess or facts.preprocess).model_dump_json()
        teachers.append(Teacher(network, f"{sha256}/{read}"))

    pupil, networks = job.student.network, [one.network.network.spec for one in teachers]
    taught, labelled = bool(teachers) or facts.teacher_outputs is not None, facts.labelled
    for pointer, code, detail in (
        *job.method.flaws(pupil, networks),
        *controls.flaws(
            job.controls, job.method, pupil, networks, taught=taught, labelled=labelled
        ),
    ):
        raise Refused.invalid(code, detail, pointer=pointer)  # the API has looked; a file is new

    student_file = file.files[job.student.file] if job.student.file else None
    if student_file is not None:  # unlike a teacher, nobody has looked at it yet
        try:
            inspect_checkpoint(student_file, job.student.network)
        except Refused as refused:
            raise refused.at("/student/file") from None
    bench = Bench(
        job=job,
        data=data,
        data_sha256=facts.sha256,
        preprocess=preprocess,
        teachers=teachers,
        arithmetic=arithmetic,
        cache=cache,
        reporter=reporter,
        student_file=student_file,
        seed=job.training.seed,
        keep=Keep(out, reporter, dict(file.once)),
    )
    for teacher in teachers:
        bench.freeze(bench.place(teacher.network))
    with_baseline, why_not = wants_baseline(job, labelled=facts.labelled)
    epochs = job.planned_epochs(compared=with_baseline)
    run = loop.Run(
        seed=job.training.seed,
        arithmetic=arithmetic,
        reporter=reporter,
        out=out,
        spec_sha256=hashlib.sha256(job.model_dump_json().encode()).hexdigest(),
        checkpoint_every_s=file.checkpoint_every_s,
        stages=len(epochs),
    )
    conductor = Conductor(file, run, bench, epochs)
    publisher = Publisher(out, reporter, file, facts)
    judge = Judge(bench, data)

    students = []
    repairs: list[dict[str, Any] | None] = []
    for student in conductor.students():
        repairs.append(judge.repair(student.network))
        for other in student.beside:
            judge.repair(other)
        students.append(student)
        if len(students) == 1:  # published before anything that could still fail
            reporter.send("phase", phase="exporting")
            publisher.student(student.network)
            if student.full_precision is not None:
                publisher.full_precision(student.full_precision)

    compared = Compared(why_not=why_not)
    if with_baseline:
        compared = compare(conductor, lambda trained: judge.repair(trained.network))

    reporter.send("phase", phase="evaluating")
    report, sides = judge.report(students, compared, facts.class_names)
    report["bias_repair"] = repairs[0]
    report["validation"] = judge.validation(students[0])
    report["cache"] = {
        kind: {"made": cache.made[kind], "found": cache.found[kind]}
        for kind in ("soft_targets", "baselines")
    }
    publisher.predictions(sides, data.split(judge.split).labels)
    publisher.report(report)
    origin = provenance(file, dataset, resolved, teachers=hashes, engine=ENGINE_VERSION)
    publisher.card(report, recorder.curves, origin)


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
        inputs = self.data.split(self.split).inputs
        teacher, teacher_cost = self.teacher()
        own = [self.answers(trained.network) for trained in students]
        cost_student = self.cost(students[0].network, inputs)

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
            "baseline": None,
            "difference": None,
            "verdict": "no baseline",
            "reason": compared.why_not,
            "sentence": f"There is no baseline: {compared.why_not}.",
        }
        before = None
        if students[0].full_precision is not None:
            network = students[0].full_precision
            before = self.answers(network)
            report["full_precision"] = measures(before, class_names) | self.cost(network, inputs)
        if students[0].network.network.quantization is not None:
            report["quantization"] = precision(students[0].network.network, own[0], before)
        if students[0].ensemble:
            report["ensemble"] = self.ensemble(students[0].ensemble, class_names)
        sides = {"teacher": teacher, "student": own[0], "baseline": None}
        if compared.baselines:
            plain = [self.answers(run.network) for run in compared.baselines]
            pairs = [
                Pair(trained.seed, *answers)
                for trained, *answers in zip(students, own, plain, strict=True)
            ]
            report["baseline"] = side(compared.baselines, plain)
            report["difference"] = difference(pairs)
            chosen = self.bench.select.metric != "last"
            told = verdict(report["difference"], pairs, self.split, chosen=chosen)
            report["verdict"], report["sentence"] = told
            if teacher is not None and (doubt := doubt_of_teacher(teacher, plain[0])):
                report["sentence"] += f" {doubt}"
            sides["baseline"] = plain[0]
        if self.job.controls:
            controls = {
                name: [self.answers(run.network) for run in runs]
                for name, runs in compared.controls.items()
            }
            report["controls"] = {name: {"failed": why} for name, why in compared.failed.items()}
            report["controls"] |= {
                name: side(compared.controls[name], answers) for name, answers in controls.items()
            }
            if controls and self.split != "train":
                report["attribution"] = attribution(
                    _right(own),
                    _right(plain),
                    {name: _right(answers) for name, answers in controls.items()},
                )
            sides |= {f"control/{name}": answers[0] for name, answers in controls.items()}
        return report, sides | {"full_precision": before}


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
