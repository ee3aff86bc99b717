"""What the engine promises, on small real jobs."""

import errno
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from app.spec.dataset import DatasetSpec
from app.spec.job import Select
from app.spec.jobfile import PreparedFile, Resolved
from app.spec.methods import METHODS
from app.spec.problems import Refused
from tests.engine.conftest import TEACHER, Recorder, job_file
from workers.data.inspect import inspect_dataset
from workers.data.prepare import prepare
from workers.data.prepared import Prepared
from workers.data.raw import Raw, RawSplit
from workers.engine.cache import Cache
from workers.engine.device import place
from workers.engine.evaluate import validation_metrics
from workers.engine.job import run_job
from workers.methods import plan


def report(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def test_every_method_has_a_plan() -> None:
    for member in METHODS.values():
        assert plan.dispatch(member) is not plan.dispatch(object), member.__name__


def test_a_numpy_reader_reproduces_the_reported_accuracy(run, digits) -> None:
    out, _ = run(epochs=6)
    told = report(out)
    network = json.loads((out / "network.json").read_text())
    weights = load_file(out / "student.safetensors")
    test = Prepared.open(digits.file).split("test")
    pre = network["preprocess"]
    x = (test.x.numpy().astype(np.float32) * pre["scale"] - pre["mean"][0]) / pre["std"][0]
    x = x.reshape(len(x), -1)
    for layer in range(len(network["hidden"]) + 1):
        x = x @ weights[f"layers.{layer}.weight"].T + weights[f"layers.{layer}.bias"]
        if layer < len(network["hidden"]):
            x = np.maximum(x, 0)
    accuracy = float((x.argmax(1) == test.y.numpy()).mean())
    assert accuracy == told["student"]["accuracy"] > 0.5
    predictions = pq.read_table(out / "predictions.parquet").to_pydict()
    assert predictions["student"] == x.argmax(1).tolist()
    assert set(predictions) == {"label", "teacher", "student", "baseline"}


def test_report_counts_agree_with_the_predictions(run) -> None:
    out, _ = run(epochs=4)
    told = report(out)
    rows = pq.read_table(out / "predictions.parquet").to_pydict()
    for side in ("teacher", "student", "baseline"):
        errors = sum(a != b for a, b in zip(rows[side], rows["label"], strict=True))
        assert told[side]["errors"] == errors
        low, high = told[side]["interval"]
        assert low < told[side]["accuracy"] < high
        assert sum(row["errors"] for row in told[side]["per_class"]) == errors
    gap = told["student"]["accuracy"] - told["baseline"]["accuracy"]
    assert told["difference"]["accuracy"] == pytest.approx(gap)
    assert told["verdict"] in ("helped", "hurt", "not distinguishable")
    agreement = np.mean(np.array(rows["student"]) == np.array(rows["teacher"]))
    assert told["student"]["agreement"] == pytest.approx(agreement)


@pytest.mark.parametrize(("validation", "split"), [(0.0, "train"), (0.2, "validation")])
def test_what_was_trained_or_chosen_on_is_not_called_held_out(
    teacher_file, tmp_path, validation, split
) -> None:
    path = tmp_path / "digits.safetensors"
    spec = DatasetSpec.model_validate(
        {
            "name": "digits",
            "source": {"kind": "builtin", "name": "digits"},
            "splits": {"validation": validation, "test": 0.0},
        }
    )
    data = PreparedFile(file=path, facts=inspect_dataset(None, spec, path))
    controls = [{"name": "permuted"}]
    job = job_file(data, [teacher_file], baseline={"controls": controls}, epochs=1)
    run_job(job, data, tmp_path, Cache(tmp_path / "cache", 10**9), Recorder())
    told = report(tmp_path)
    assert told["split"] == split
    assert "held-out" not in told["sentence"]
    assert f"{split}" in told["sentence"].replace("training", "train")
    assert ("attribution" in told) is (split != "train")
    card = (tmp_path / "card.md").read_text()
    assert ("the epoch was chosen by it" in card) is (split == "validation")
    assert ("the student was trained on it" in card) is (split == "train")
    assert ("has not seen it" in card) is (split == "test")
    if split == "train":
        assert told["verdict"] == "not distinguishable"


def test_the_least_loss_is_the_best(run) -> None:
    wild = {"optimizer": {"name": "sgd", "lr": 2.0}, "schedule": {"name": "constant"}}
    select = {"metric": "validation/loss"}
    out, events = run(select=select, baseline=None, epochs=6, training=wild)
    losses = list(events.curve("validation/loss").values())
    assert report(out)["student"]["best_epoch"] == 1 + int(np.argmin(losses))
    assert Select(metric="validation/loss").mode == "min"
    assert Select().mode == Select(metric="validation/agreement").mode == "max"
    assert Select(metric="validation/loss", mode="max").mode == "max"


def test_a_job_goes_on_where_its_first_device_is_missing(
    digits, teacher_file, tmp_path, capfd
) -> None:
    file = job_file(digits, [teacher_file], epochs=1, baseline=None)
    begun = {"device": "cuda", "threads": 1, "precision": "bf16"}
    file = file.model_copy(update={"resolved": Resolved(**begun)})
    recorder = Recorder()
    run_job(file, digits, tmp_path, Cache(tmp_path / "cache", 10**9), recorder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert recorder.all("resolved") == [{**begun, "device": device}]
    assert ("begun on cuda" in capfd.readouterr().out) is (device == "cpu")


def test_what_is_resolved_is_kept_where_it_can_be(monkeypatch) -> None:
    gpu, cpu = (Resolved(device=name, threads=1, precision="fp32") for name in ("cuda", "cpu"))
    assert place("cpu", gpu) == (torch.device("cpu"), cpu)
    assert place("auto", cpu) == (torch.device("cpu"), cpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert place("auto", cpu) == (torch.device("cpu"), cpu)  # the same bytes as before
    assert place("auto", gpu) == (torch.device("cuda"), gpu)
    assert place("cuda:1", gpu) == (torch.device("cuda:1"), gpu)
    assert place("cuda:1", cpu) == (torch.device("cuda:1"), gpu)


@pytest.mark.parametrize("augment", ["flip", "crop", "shift"])
def test_images_of_sixteen_bits_are_learned_from(tmp_path, augment) -> None:
    x = np.random.default_rng(0).integers(0, 65536, (60, 8, 8), np.uint16)
    raw = Raw({"train": RawSplit(x, np.arange(60) % 10, None)}, 10, None, None)
    path = tmp_path / "deep.safetensors"
    spec = DatasetSpec.model_validate(
        {"name": "deep", "source": {"kind": "file", "file": "file_0"}}
    )
    data = PreparedFile(file=path, facts=prepare(raw, spec, path))
    assert data.facts.feature_dtype == "uint16"
    file = job_file(
        data, None, method={"name": "supervised"}, training={"augment": [{"name": augment}]}
    )
    run_job(file, data, tmp_path, Cache(tmp_path / "cache", 10**9), Recorder())
    assert report(tmp_path)["student"]["examples"] > 0


def test_teachers_pass_once_and_later_jobs_not_at_all(run) -> None:
    _, first = run("a")
    _, second = run("b", method={"name": "kd", "temperature": 9.0}, training={"seed": 4})
    assert any(e["phase"].startswith("teaching") for e in first.all("phase"))
    assert not any(e["phase"].startswith("teaching") for e in second.all("phase"))


def test_the_phase_returns_to_training_after_each_pass(run) -> None:
    _, events = run(training={"augment": [{"name": "flip"}]}, baseline=None)
    phases = [e["phase"].split()[0] for e in events.all("phase")]
    assert phases.count("teaching") >= 1
    assert "teaching" not in phases[-2:]  # of a pass between two epochs, too
    last = len(phases) - 1 - phases[::-1].index("teaching")
    assert phases[last + 1] == "training"


def test_the_speed_counts_the_step_it_is_told_with(run) -> None:
    _, events = run(epochs=2, baseline=None)
    assert min(events.curve("train/samples_per_s").values()) > 0


def test_a_result_does_not_depend_on_the_cache(run) -> None:
    shifted = {"augment": [{"name": "shift", "pixels": 1}]}
    cold, _ = run("cold", training=shifted, baseline=None)
    warm, _ = run("warm", training=shifted, baseline=None)
    assert (cold / "student.safetensors").read_bytes() == (
        warm / "student.safetensors"
    ).read_bytes()


def test_constants_of_another_data_set_are_another_teacher(digits, teacher_file, tmp_path) -> None:
    """The same rows, registered once more without normalisation."""
    plain = digits.facts.preprocess.model_copy(update={"mean": (0.0,), "std": (1.0,)})
    facts = digits.facts.model_copy(update={"preprocess": plain})
    made = []
    for data in (digits, digits.model_copy(update={"facts": facts})):
        job = job_file(data, [teacher_file], epochs=1, baseline=None)
        run_job(job, data, tmp_path, Cache(tmp_path / "cache", 10**9), Recorder())
        made.append(report(tmp_path)["cache"]["soft_targets"])
    assert made == [{"made": 1, "found": 0}] * 2


def test_what_is_damaged_in_the_cache_is_made_anew(run, tmp_path) -> None:
    first, _ = run("first")
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(kept) == 2
    for path in kept:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    second, _ = run("second")
    third, _ = run("third")
    cache = [report(out)["cache"] for out in (first, second, third)]
    assert [one["baselines"]["made"] for one in cache] == [1, 1, 0]
    assert [one["soft_targets"]["made"] for one in cache] == [1, 1, 0]
    for out in (second, third):
        assert (out / "student.safetensors").read_bytes() == (
            first / "student.safetensors"
        ).read_bytes()
        assert report(out)["baseline"]["errors"] == report(first)["baseline"]["errors"]


def test_baseline_shares_everything_with_the_student_but_the_teacher(run) -> None:
    """With no weight on the teacher, student and baseline are the same network."""
    out, events = run(method={"name": "kd", "alpha": 0.0}, epochs=4)
    rows = pq.read_table(out / "predictions.parquet").to_pydict()
    assert rows["student"] == rows["baseline"]
    assert report(out)["difference"]["accuracy"] == 0
    offset = len(events.curve("train/loss")) and max(events.curve("train/loss"))
    student = events.curve("train/hard_loss")
    baseline = events.curve("baseline/0/train/hard_loss")
    assert {s + offset: v for s, v in student.items()} == baseline


def test_a_known_baseline_is_not_trained_again(run) -> None:
    first, one = run("a")
    second, two = run("b", method={"name": "kd", "temperature": 2.0})
    assert report(first)["baseline"]["errors"] == report(second)["baseline"]["errors"]
    assert len(one.all("deliverable")) == 2
    assert len(two.all("deliverable")) == 1
    assert one.curve("baseline/0/train/loss") == two.curve("baseline/0/train/loss")
    trained, known = (report(out)["baseline"]["train_seconds"] for out in (first, second))
    assert known == trained > 0
    assert two.all("progress")[-1]["fraction"] == 1


def test_soft_and_hard_terms_make_the_logged_loss(run) -> None:
    _, events = run(method={"name": "kd", "temperature": 3.0, "alpha": 0.7})
    soft, hard = events.curve("train/soft_loss"), events.curve("train/hard_loss")
    for step, loss in events.curve("train/loss").items():
        assert loss == pytest.approx(0.7 * 9 * soft[step] + 0.3 * hard[step], rel=1e-4)


def test_the_line_of_the_teacher_is_told_beside_the_student() -> None:
    logits = torch.eye(3)[[0, 1, 2, 0]]
    labels, teacher = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 1, 0])
    told = validation_metrics(logits, labels, teacher)
    assert told["validation/accuracy"] == 0.5
    assert told["validation/agreement"] == 0.75
    assert told["validation/teacher_accuracy"] == 0.75
    assert "validation/teacher_accuracy" not in validation_metrics(logits, labels, None)
    assert "validation/teacher_accuracy" not in validation_metrics(logits, None, teacher)


def test_an_unlabelled_transfer_set(teacher_file, tmp_path) -> None:
    spec = DatasetSpec.model_validate(
        {"name": "bare", "source": {"kind": "builtin", "name": "digits"}, "label": None}
    )
    path = tmp_path / "bare.safetensors"
    bare = PreparedFile(file=path, facts=inspect_dataset(None, spec, path))
    assert bare.facts.labelled is False
    job = job_file(bare, [teacher_file], method={"name": "kd", "alpha": 1.0}, epochs=10)
    recorder = Recorder()
    run_job(job, bare, tmp_path, Cache(tmp_path / "cache", 10**9), recorder)
    told = report(tmp_path)
    assert told["verdict"] == "no baseline"
    assert "no labels" in told["reason"]
    assert told["student"]["agreement"] > 0.8
    assert recorder.curve("validation/agreement")
    assert not recorder.curve("train/hard_loss")


def test_recorded_outputs_that_stop_at_train(tmp_path) -> None:
    """Without labels, or a teacher's word on validation, nothing can be selected."""
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x_train=x, x_validation=x, x_test=x, teacher_logits_train=x[:, :3])
    source = {"kind": "file", "file": "file_a"}
    spec = DatasetSpec.model_validate({"name": "a", "source": source, "label": None})
    facts = inspect_dataset(tmp_path / "a.npz", spec, tmp_path / "a.safetensors")
    data = PreparedFile(file=tmp_path / "a.safetensors", facts=facts)
    student = {"family": "mlp", "inputs": 4, "hidden": [], "classes": 3}
    job = job_file(data, None, student=student, method={"alpha": 1})
    run_job(job, data, tmp_path, Cache(tmp_path / "cache", 10**9), Recorder())
    assert report(tmp_path)["student"]["best_epoch"] == 3
    agreement = {"metric": "validation/agreement"}
    job = job_file(data, None, student=student, method={"alpha": 1}, select=agreement)
    with pytest.raises(Refused, match="selection_unmeasured"):
        run_job(job, data, tmp_path, Cache(tmp_path / "cache", 10**9), Recorder())


def test_an_ensemble_teaches_by_its_mean_probability(run, teacher_file, untrained) -> None:
    out, _ = run(teachers=[teacher_file, untrained], epochs=2)
    alone, _ = run("alone", teachers=[teacher_file], epochs=2)
    assert report(out)["teacher"]["parameters"] == 2 * report(alone)["teacher"]["parameters"]
    assert report(out)["teacher"]["nll"] != report(alone)["teacher"]["nll"]
    assert (out / "student.safetensors").read_bytes() != (
        alone / "student.safetensors"
    ).read_bytes()


def test_excluded_classes_are_unseen_and_then_repaired(run, digits) -> None:
    out, _ = run(
        method={"name": "kd", "temperature": 8.0, "alpha": 1.0},
        transfer={"exclude_classes": [3]},
        epochs=25,
    )
    repair = report(out)["bias_repair"]
    assert repair["classes"] == [3]
    assert repair["before"]["errors_on_excluded"] > repair["after"]["errors_on_excluded"]
    assert repair["after"]["errors"] <= repair["before"]["errors"]
    assert report(out)["student"]["errors"] == repair["after"]["errors"]
    assert repair["bias"] > 0


def test_without_selection_the_last_epoch_is_kept(run) -> None:
    out, _ = run(select={"metric": "last"}, baseline=None)
    assert report(out)["student"]["best_epoch"] == 3


def test_a_student_starts_from_its_file(digits, teacher_file, tmp_path) -> None:
    frozen = {"optimizer": {"name": "sgd", "lr": 1e-9}}
    job = job_file(digits, None, method={"name": "supervised"}, epochs=1, training=frozen)
    warm = job.job.student.model_copy(update={"file": "file_s"})
    update = {
        "job": job.job.model_copy(update={"student": warm}),
        "files": {"file_s": teacher_file},
    }
    cache = Cache(tmp_path / "cache", 10**9)
    with pytest.raises(Refused, match="tensor_mismatch") as caught:
        run_job(job.model_copy(update=update), digits, tmp_path, cache, Recorder())
    assert caught.value.pointer == "/student/file"
    warm = warm.model_copy(
        update={"network": job_file(digits, [teacher_file]).teachers["tch_0"].network}
    )
    update["job"] = job.job.model_copy(update={"student": warm})
    run_job(job.model_copy(update=update), digits, tmp_path, cache, Recorder())
    assert report(tmp_path)["student"]["accuracy"] > 0.8

    (tmp_path / "bad").write_bytes(b"\x00" * 64)
    update["files"] = {"file_s": tmp_path / "bad"}
    with pytest.raises(Refused, match="invalid_safetensors"):
        run_job(job.model_copy(update=update), digits, tmp_path, cache, Recorder())


def test_a_fraction_of_the_transfer_set(run) -> None:
    _, events = run(transfer={"fraction": 0.1}, training={"batch_size": 13})
    progress = events.all("progress")[-1]
    assert progress["steps"] == 2 * 3 * 10  # 129 of 1,294 examples in 10 batches, twice 3 epochs


def test_steps_never_start_again(run) -> None:
    _, events = run(epochs=2)
    student, baseline = events.curve("train/loss"), events.curve("baseline/0/train/loss")
    assert max(student) < min(baseline)
    fractions = [e["fraction"] for e in events.all("progress")]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_divergence_fails_with_a_problem_and_keeps_the_last_good_weights(run) -> None:
    recorder = Recorder()
    with pytest.raises(Refused, match="training_diverged"):
        run(
            recorder=recorder,
            epochs=40,
            # A quadratic loss of a linear network explodes once the rate passes its curvature.
            student={**TEACHER, "hidden": []},
            method={"name": "logits"},
            training={
                "optimizer": {"name": "sgd", "lr": 20.0, "momentum": 0.0},
                "schedule": {"name": "constant", "warmup_epochs": 2000},
            },
        )
    kept = recorder.all("checkpoint")[-1]
    for name, values in load_file(kept["file"]).items():
        if name.startswith("trainee."):
            assert np.isfinite(values).all(), name


def test_max_norm_bounds_every_hidden_unit(digits, tmp_path) -> None:
    bounded = {**TEACHER, "max_norm": 0.7}
    job = job_file(digits, None, student=bounded, method={"name": "supervised"}, epochs=3)
    run_job(job, digits, tmp_path, Cache(tmp_path / "cache", 10**9), Recorder())
    norms = np.linalg.norm(load_file(tmp_path / "student.safetensors")["layers.0.weight"], axis=1)
    assert norms.max() <= 0.7 + 1e-5
    assert norms.max() > 0.69


def test_a_failing_baseline_never_fails_the_job(run, monkeypatch) -> None:
    from workers.engine import compare

    def broken(*_: object) -> None:
        raise RuntimeError("no baseline today")

    monkeypatch.setattr(compare.Matched, "run", broken)
    out, _ = run()
    told = report(out)
    assert told["verdict"] == "no baseline"
    assert "no baseline today" in told["reason"]
    assert (out / "student.safetensors").exists()
    deep = {**TEACHER, "hidden": [16, 16]}  # its middle layer can be quantised
    _, events = run("two stages each", method={"name": "apprentice"}, student=deep, epochs=4)
    fractions = [fields["fraction"] for fields in events.all("progress")]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_a_full_disk_loses_no_baseline(run, monkeypatch) -> None:
    from workers.engine import compare

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(compare.Matched, "run", full)
    with pytest.raises(OSError, match="No space left"):
        run()


def test_teacher_weights_and_mode_are_untouched(run, teacher_file) -> None:
    before = teacher_file.read_bytes()
    run(epochs=1)
    assert teacher_file.read_bytes() == before
