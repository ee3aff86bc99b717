"""One job from its file to its artifacts."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from app.spec import controls
from app.spec.dataset import DatasetFacts
from app.spec.job import JobSpec
from app.spec.jobfile import JobFile, PreparedFile
from app.spec.problems import Refused
from workers.data.inspect import inspect_checkpoint
from workers.data.prepared import Prepared
from workers.engine import loop
from workers.engine.allocator import keep_memory
from workers.engine.bench import Bench, Data, load_teacher
from workers.engine.cache import Cache
from workers.engine.compare import Compared, compare, wants_baseline
from workers.engine.conduct import ENGINE_VERSION, Conductor
from workers.engine.curves import Recorder
from workers.engine.device import Arithmetic, make_faithful, place, resolve
from workers.engine.judge import Judge
from workers.engine.keep import Keep
from workers.engine.publish import Publisher
from workers.engine.reporter import Reporter, file_facts
from workers.engine.soft_targets import Teacher
from workers.engine.waiting import considerate
from workers.export.provenance import provenance


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
    hashes, teachers = _teachers(file, facts)
    _refuse_flaws(job, facts, teachers)
    bench = Bench(
        job=job,
        data=data,
        data_sha256=facts.sha256,
        preprocess=preprocess,
        teachers=teachers,
        arithmetic=arithmetic,
        cache=cache,
        reporter=reporter,
        student_file=_student_file(file),
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


def _teachers(file: JobFile, facts: DatasetFacts) -> tuple[dict[str, str], list[Teacher]]:
    """SHA-256 by id, and the networks, each named by its weights and by what it reads."""
    hashes, teachers = {}, []
    for identity in file.job.teachers:
        entry = file.teachers[identity]
        sha256 = hashes[identity] = entry.sha256 or str(file_facts(entry.file)["sha256"])
        network = load_teacher(entry, facts.preprocess.model_dump(mode="json"))
        read = (entry.preprocess or facts.preprocess).model_dump_json()
        teachers.append(Teacher(network, f"{sha256}/{read}"))
    return hashes, teachers


def _refuse_flaws(job: JobSpec, facts: DatasetFacts, teachers: Sequence[Teacher]) -> None:
    """The API has looked already; a file is new. Raises Refused."""
    pupil, networks = job.student.network, [one.network.network.spec for one in teachers]
    taught = bool(teachers) or facts.teacher_outputs is not None
    flaws = [
        *job.method.flaws(pupil, networks),
        *controls.flaws(
            job.controls, job.method, pupil, networks, taught=taught, labelled=facts.labelled
        ),
    ]
    for pointer, code, detail in flaws:
        raise Refused.invalid(code, detail, pointer=pointer)


def _student_file(file: JobFile) -> Path | None:
    """The weights to begin with. Raises Refused: unlike a teacher's, nobody has looked at them."""
    student = file.job.student
    if student.file is None:
        return None
    path = file.files[student.file]
    try:
        inspect_checkpoint(path, student.network)
    except Refused as refused:
        raise refused.at("/student/file") from None
    return path
