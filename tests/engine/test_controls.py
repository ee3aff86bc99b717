"""Controls: what each is made of, and that they are runs like the baseline."""

import errno
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from pydantic import TypeAdapter

from app.spec.controls import Control, ControlSpec
from app.spec.methods import METHODS
from app.spec.networks import NetworkSpec
from tests.engine.conftest import TEACHER, Recorder
from workers.engine import compare
from workers.engine.logit_losses import permute_alike
from workers.engine.losses import log_soften_ensemble
from workers.engine.soft_targets import PermutedTargets
from workers.engine.stages import Batch, mix
from workers.networks import build
from workers.networks.store import save_network

NAMES = ("label_smoothing", "cwtm", "permuted", "random_teacher")


def asked(*names: str, seeds: int = 1, **smoothing: float) -> dict:
    controls = [{"name": name} for name in names]
    if smoothing:
        controls[0] |= smoothing
    return {"seeds": seeds, "controls": controls}


def report(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def answers(out: Path) -> dict[str, list[int]]:
    return pq.read_table(out / "predictions.parquet").to_pydict()


def test_an_ensemble_is_permuted_as_one() -> None:
    """At every T its mean probability is the permuted mean, the maximum at T = 1 in place."""
    generator = torch.Generator().manual_seed(1)
    members = list(torch.randn(3, 50, 6, generator=generator, dtype=torch.float64) * 3)
    permuted = permute_alike(members, torch.Generator().manual_seed(0))
    top = log_soften_ensemble(members, 1.0).argmax(1)
    for t in (1.0, 4.0, 20.0):
        before, after = log_soften_ensemble(members, t), log_soften_ensemble(permuted, t)
        torch.testing.assert_close(after.sort(1).values, before.sort(1).values)
        torch.testing.assert_close(after.gather(1, top[:, None]), before.gather(1, top[:, None]))
    for member, moved in zip(members, permuted, strict=True):
        assert not torch.equal(member, moved)


def test_permuted_targets_are_new_in_each_epoch_and_the_same_when_repeated() -> None:
    class Fixed:
        def prepare(self, epoch: int) -> None: ...

        def __call__(self, batch: Batch) -> list[torch.Tensor]:
            return [torch.arange(5.0).repeat(len(batch.index), 1)]

    def drawn(seed: int, epoch: int, index: list[int]) -> torch.Tensor:
        batch = Batch(torch.zeros(len(index), 1), None, torch.tensor(index), epoch)
        return PermutedTargets(Fixed(), seed)(batch)[0]

    index = list(range(40))
    assert torch.equal(drawn(0, 1, index), drawn(0, 1, index))
    others = [drawn(0, 1, index), drawn(1, 1, index), drawn(0, 2, index), drawn(0, 1, index[::-1])]
    for one, other in pairwise(others):
        assert not torch.equal(one, other)
    # Every class but the largest ends up in every other place about as often.
    many = torch.cat([drawn(0, epoch, index) for epoch in range(50)])
    for place in range(4):
        counts = many[:, place].long().bincount(minlength=5).float() / len(many)
        assert torch.allclose(counts[:4], torch.tensor(0.25), atol=0.04)
    assert bool((many[:, 4] == 4).all())


def test_all_controls_are_trained_told_and_counted(run) -> None:
    out, events = run(epochs=2, baseline=asked(*NAMES))
    told = report(out)
    assert list(told["controls"]) == list(NAMES)
    rows = answers(out)
    for name in NAMES:
        side = told["controls"][name]
        assert side["errors"] == sum(
            a != b for a, b in zip(rows[f"control/{name}"], rows["label"], strict=True)
        )
        assert events.curve(f"control/{name}/0/train/loss")
        assert events.curve(f"control/{name}/0/validation/accuracy")
        assert len({tuple(rows[f"control/{name}"]), tuple(rows["student"])}) == 2
    parts = {part["of"]: part["accuracy"] for part in told["attribution"]["parts"]}
    gains = {name: told["controls"][name]["accuracy"] for name in NAMES}
    base, own = told["baseline"]["accuracy"], told["student"]["accuracy"]
    for name in NAMES:
        assert parts[f"{name} - baseline"] == pytest.approx(gains[name] - base)
    assert parts["student - permuted"] == pytest.approx(own - gains["permuted"])
    assert told["attribution"]["sentence"] in (out / "card.md").read_text()
    assert "| label smoothing |" in (out / "card.md").read_text()

    progress = events.all("progress")
    assert progress[-1]["fraction"] == 1
    assert progress[-1]["stage"] == progress[-1]["stages"] == 6
    assert progress[-1]["step"] == progress[-1]["steps"] == 6 * 2 * 21
    fractions = [event["fraction"] for event in progress]
    assert fractions == sorted(fractions)
    steps = [max(events.curve(f"{name}train/loss")) for name in ("", "baseline/0/")]
    steps += [max(events.curve(f"control/{name}/0/train/loss")) for name in NAMES]
    assert steps == sorted(set(steps))


def test_controls_are_the_runs_that_they_are_said_to_be(run) -> None:
    out, _ = run(epochs=3, baseline=asked("label_smoothing", "cwtm", smoothing=0.3))
    smoothed = {"name": "supervised", "label_smoothing": 0.3}
    alone, _ = run("smoothed", epochs=3, method=smoothed, teachers=[])
    assert answers(out)["control/label_smoothing"] == answers(alone)["student"]
    weighted = {"name": "born_again", "generations": 1, "treatment": "cwtm"}
    alone, _ = run("weighted", epochs=3, method=weighted)
    assert answers(out)["control/cwtm"] == answers(alone)["student"]


def test_without_weight_on_the_teacher_its_controls_are_the_baseline(run) -> None:
    """They differ from the student in the teacher's word alone."""
    method = {"name": "kd", "alpha": 0.0}
    out, _ = run(method=method, baseline=asked("permuted", "random_teacher"))
    rows = answers(out)
    assert rows["student"] == rows["baseline"]
    assert rows["control/permuted"] == rows["control/random_teacher"] == rows["baseline"]
    assert [part["accuracy"] for part in report(out)["attribution"]["parts"]] == [0, 0, 0]


def test_known_controls_are_not_trained_again(run, untrained) -> None:
    """Each is known by what determines it: the method, or the teacher's weights, or neither."""
    first, one = run("a", baseline=asked(*NAMES))
    _, two = run("b", method={"name": "kd", "temperature": 2.0}, baseline=asked(*NAMES))
    _, three = run("c", teachers=[untrained], baseline=asked(*NAMES))
    again, four = run("d", baseline=asked(*NAMES))
    assert [len(events.all("deliverable")) for events in (one, two, three, four)] == [6, 3, 3, 1]

    def trained(events: Recorder) -> set[int]:
        return {event["stage"] for event in events.all("deliverable")}

    assert trained(two) == {0, 4, 5}
    assert trained(three) == {0, 3, 4}
    for name in NAMES:
        key = f"control/{name}/0/train/loss"
        assert one.curve(key) == four.curve(key)
        assert (
            report(first)["controls"][name]["errors"] == report(again)["controls"][name]["errors"]
        )
        assert report(again)["controls"][name]["train_seconds"] > 0
    assert four.all("progress")[-1]["fraction"] == 1


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ({"name": "born_again", "generations": 2}, {}),
        ({"name": "dml"}, {}),
        ({"name": "fitnets"}, {"epochs": 3}),
        ({"name": "specialists", "specialist_epochs": 1}, {}),
        ({"name": "rkd"}, {}),
        ({"name": "logits"}, {}),
    ],
    ids=lambda value: value.get("name", ""),
)
def test_methods_of_several_stages_and_taps_have_random_teachers(run, method, fields) -> None:
    fields = {"epochs": 1, "method": method, **fields}
    stages = len(job_file_of(method, fields["epochs"]).stage_epochs)
    out, events = run(baseline=asked("random_teacher"), **fields)
    assert "accuracy" in report(out)["controls"]["random_teacher"], report(out)["controls"]
    progress = events.all("progress")[-1]
    assert progress["stages"] == progress["stage"] == 2 * stages + 1
    assert progress["fraction"] == 1
    again, known = run("again", baseline=asked("random_teacher"), **fields)
    assert len(known.all("deliverable")) == stages
    assert known.all("progress")[-1]["stage"] == 2 * stages + 1
    assert answers(out) == answers(again)


def job_file_of(method: dict, epochs: int):
    from app.spec.job import JobSpec

    student = {"network": {"family": "mlp", "inputs": 64, "hidden": [16]}}
    return JobSpec.model_validate(
        {
            "dataset": "dst_d",
            "student": student,
            "method": method,
            "training": {"epochs": epochs},
        }
    )


def test_specialists_of_a_random_teacher_have_clusters_of_their_own(run) -> None:
    method = {"name": "specialists", "specialist_epochs": 1}
    _, events = run(epochs=1, method=method, baseline=asked("random_teacher"))
    once = {event["name"] for event in events.all("artifact") if event["kind"] == "once"}
    assert len(once) == 2


def test_a_failing_control_never_fails_the_job(run, monkeypatch) -> None:
    arranged = compare.arranged

    def broken(control: Control, bench):
        if control.name == "cwtm":
            raise RuntimeError("no control today")
        return arranged(control, bench)

    monkeypatch.setattr(compare, "arranged", broken)
    out, events = run(baseline=asked("label_smoothing", "cwtm", "permuted"))
    told = report(out)
    assert told["verdict"] != "no baseline"
    assert told["controls"]["cwtm"] == {"failed": "training it failed: no control today"}
    assert [part["of"] for part in told["attribution"]["parts"]] == [
        "label_smoothing - baseline",
        "permuted - baseline",
        "student - permuted",
    ]
    assert events.all("progress")[-1]["fraction"] == 1


def test_a_diverging_control_is_not_the_job_s_best_checkpoint(run, monkeypatch) -> None:
    arranged = compare.arranged

    def wild(control: Control, bench):
        bench = arranged(control, bench)
        rate = bench.job.training.optimizer.model_copy(update={"lr": 1e20})
        training = bench.job.training.model_copy(update={"optimizer": rate})
        return replace(bench, job=bench.job.model_copy(update={"training": training}))

    monkeypatch.setattr(compare, "arranged", wild)
    out, events = run(epochs=2, baseline=asked("cwtm"))
    assert "training_diverged" in report(out)["controls"]["cwtm"]["failed"]
    best = [event["stage"] for event in events.all("checkpoint") if event["best"]]
    assert best == [0]


def test_a_full_disk_loses_no_control(run, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(compare, "arranged", full)
    with pytest.raises(OSError, match="No space left"):
        run(baseline=asked("cwtm"))


def test_without_a_baseline_there_is_no_gain_to_divide(run, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no baseline today")

    monkeypatch.setattr(compare, "untaught", broken)
    out, events = run(baseline=asked("cwtm", seeds=2), epochs=1)
    told = report(out)
    assert told["verdict"] == "no baseline"
    assert "without a baseline" in told["controls"]["cwtm"]["failed"]
    assert "attribution" not in told
    assert events.all("progress")[-1]["fraction"] == 1


def test_three_seeds_of_each_control(run) -> None:
    out, events = run(epochs=1, baseline=asked("permuted", seeds=3))
    assert events.curve("control/permuted/2/train/loss")
    told = report(out)["attribution"]
    assert {part["over"] for part in told["parts"]} == {"seeds"}
    assert "these runs only" not in told["sentence"]


def test_every_control_has_a_bench() -> None:
    from typing import get_args

    members = get_args(get_args(ControlSpec)[0])
    assert {member.model_fields["name"].default for member in members} == set(NAMES)


def test_methods_that_need_layers_or_weights_say_so() -> None:
    assert {name for name, method in METHODS.items() if method.logits_alone} == {
        "kd",
        "logits",
        "dkd",
        "dist",
        "nkd",
        "wttm",
        "policy",
        "dml",
        "born_again",
        "apprentice",
    }


DEEP = {"family": "mlp", "inputs": 64, "hidden": [24, 20, 16], "classes": 10}
TERNARY = {"weights": 2, "first_and_last": True}


def test_a_quantised_student_has_controls_of_integers(run) -> None:
    """Each is trained, and then quantised, as a student would be that is asked for alone."""
    whole = {"network": DEEP, "quantize": TERNARY}
    fields = {"epochs": 3, "whole_student": whole}
    out, one = run("all", baseline=asked(*NAMES), **fields)
    rows = answers(out)
    smoothed = {"name": "supervised", "label_smoothing": 0.1}
    alone, _ = run("smoothed", method=smoothed, teachers=[], **fields)
    floats, _ = run("floats", method=smoothed, teachers=[], epochs=3, student=DEEP)
    assert rows["control/label_smoothing"] == answers(alone)["student"]
    assert rows["control/label_smoothing"] != answers(floats)["student"]
    weighted = {"name": "born_again", "generations": 1, "treatment": "cwtm"}
    alone, _ = run("weighted", method=weighted, **fields)
    assert rows["control/cwtm"] == answers(alone)["student"]
    # From the cache, where they are kept as integers, they answer as they did.
    again, two = run("again", baseline=asked(*NAMES), **fields)
    assert [len(events.all("deliverable")) for events in (one, two)] == [6, 1]
    assert answers(again) == rows
    assert report(again)["attribution"]["parts"] == report(out)["attribution"]["parts"]


@pytest.mark.parametrize("scheme", ["b", "c"])
def test_apprentices_have_controls_that_round_as_they_do(run, scheme) -> None:
    method = {"name": "apprentice", "scheme": scheme, "quantize": {"weights": 4}}
    fields = {"epochs": 4, "student": DEEP, "method": method}
    out, events = run(baseline=asked("permuted", "random_teacher"), **fields)
    told, rows = report(out), answers(out)
    stages = len(job_file_of(method, 4).stage_epochs)
    assert len(events.all("deliverable")) == 4 * stages
    assert events.all("progress")[-1]["fraction"] == 1
    sides = ("student", "baseline", "control/permuted", "control/random_teacher")
    assert len({tuple(rows[side]) for side in sides}) == 4
    parts = [part["of"] for part in told["attribution"]["parts"]]
    assert parts == ["random_teacher - baseline", "permuted - baseline", "student - permuted"]
    again, known = run("again", baseline=asked("permuted", "random_teacher"), **fields)
    assert len(known.all("deliverable")) == stages
    assert answers(again) == rows
    # The same method, of a teacher that knows nothing: what its control must be.
    seed = mix("weights", 0, "random teacher", 0)
    fresh = out / "fresh.safetensors"
    save_network(build(TypeAdapter(NetworkSpec).validate_python(TEACHER), seed=seed), fresh)
    alone, _ = run("alone", teachers=[fresh], **fields)
    assert answers(alone)["student"] == rows["control/random_teacher"]
