"""The bundle of a real job: whole, the same again, and as good as the report says."""

import hashlib
import importlib.util
import json
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest
import torch

from workers.data.prepared import Prepared
from workers.engine.curves import MOST_POINTS
from workers.engine.curves import Recorder as Curves
from workers.export.bundle import write_bundle
from workers.export.card import card
from workers.export.pictures import pictures

MEMBERS = [
    "card.md",
    "provenance.json",
    "student.safetensors",
    "network.json",
    "report.json",
    "curves.svg",
    "reliability.svg",
    "per_class.svg",
    "load.py",
    "LICENSE.txt",
]


@pytest.fixture
def unpacked(run, tmp_path) -> Path:
    out, _ = run(epochs=4)
    folder = tmp_path / "elsewhere"
    with zipfile.ZipFile(out / "student.zip") as archive:
        assert archive.namelist() == MEMBERS
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder


def test_its_loader_gives_the_reported_answers(run, digits, tmp_path, unpacked) -> None:
    found = importlib.util.spec_from_file_location("load", unpacked / "load.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    test = Prepared.open(digits.file).split("test")
    with torch.inference_mode():
        classes = module.load()(test.x).argmax(1)
    told = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    assert classes.tolist() == told["student"]
    report = json.loads((unpacked / "report.json").read_text())
    assert float((classes == test.y).double().mean()) == report["student"]["accuracy"] > 0.5


def test_provenance_names_what_it_was_made_of(unpacked, digits, teacher_file) -> None:
    told = json.loads((unpacked / "provenance.json").read_text())
    for name in set(MEMBERS) - {"card.md", "provenance.json"}:
        content = (unpacked / name).read_bytes()
        assert told["files"][name] == {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
    (teacher,) = told["teachers"]
    assert teacher["sha256"] == hashlib.sha256(teacher_file.read_bytes()).hexdigest()
    assert teacher["preprocess"] is None, "the data set's own"
    assert told["dataset"]["sha256"] == digits.facts.sha256
    assert told["seeds"] == {"runs": [0], "transfer": 0}
    assert told["made_by"]["torch"] == torch.__version__
    assert "CC BY 4.0" in (unpacked / "LICENSE.txt").read_text()
    everything = "".join((unpacked / name).read_text() for name in ("provenance.json", "card.md"))
    assert "job_" not in everything
    assert not re.search(r"\b20\d\d-\d\d-\d\d", everything), "no date"


def test_the_same_files_give_the_same_bytes(unpacked, tmp_path) -> None:
    again = tmp_path / "again.zip"
    for name in MEMBERS:
        (unpacked / name).touch()
    write_bundle(again, unpacked, MEMBERS)
    assert again.read_bytes() == (tmp_path / "run" / "student.zip").read_bytes()


def test_the_card_says_what_the_report_says(unpacked) -> None:
    report = json.loads((unpacked / "report.json").read_text())
    text = (unpacked / "card.md").read_text()
    assert report["sentence"] in text
    for side in ("teacher", "student", "baseline"):
        assert f"| {side} | {100 * report[side]['accuracy']:.2f} % |" in text
    for picture in re.findall(r"!\[[^]]+\]\(([^)]+)\)", text):
        root = ElementTree.parse(unpacked / picture).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 3
    rows = report["student"]["per_class"]
    worst = min(rows, key=lambda row: row["accuracy"])
    assert f"{worst['name']} ({100 * worst['accuracy']:.1f} % of {worst['examples']})" in text


def test_bins_of_confidence_hold_every_example(unpacked) -> None:
    report = json.loads((unpacked / "report.json").read_text())
    for side in ("teacher", "student", "baseline"):
        told = report[side]
        assert sum(row["examples"] for row in told["reliability"]) == told["examples"]
        gap = sum(
            row["examples"] * abs(row["confidence"] - row["accuracy"])
            for row in told["reliability"]
        )
        assert gap / told["examples"] == pytest.approx(told["ece"])


def test_a_job_without_labels_or_teacher_has_a_card_too(run, tmp_path) -> None:
    out, _ = run(method={"name": "supervised"}, teachers=[])
    text = (out / "card.md").read_text()
    assert "There is no baseline" in text
    report = json.loads((out / "report.json").read_text())
    bare = {"examples": 5, "parameters": 1, "flops": 2, "bytes": 4, "latency_ms": 0.1}
    nothing = {**report, "student": bare}
    assert pictures(nothing, {}) == {}
    provenance = json.loads((out / "provenance.json").read_text())
    assert "| student | - | - |" in card(nothing, provenance, (), "N -> N x 10")


def test_names_are_words_and_never_markup(run) -> None:
    out, _ = run(epochs=1)
    report = json.loads((out / "report.json").read_text())
    report["student"]["per_class"][3]["name"] = "<script>alert(1)</script>"
    for text in pictures(report, {}).values():
        assert "<script" not in text
        ElementTree.fromstring(text)


def test_curves_are_thinned_and_survive_a_resume(run) -> None:
    class Silent:
        stopping = False

        def send(self, event: str, **fields: object) -> None: ...

    kept = Curves(Silent(), {"train/loss": ((0.5, 3.0), (1.0, 2.0), (1.5, 9.0))})
    points = [("train/loss", step, 1.25 + step, 0.0, 1.0) for step in range(3 * MOST_POINTS)]
    kept.send("metrics", points=[*points, ("train/lr", 1, 1.0, 0.0, 1.0)])
    assert list(kept.curves) == ["train/loss"]
    curve = kept.curves["train/loss"]
    assert curve[0] == (0.5, 3.0)
    assert (1.5, 9.0) not in curve, "the attempt before had come further than its checkpoint"
    assert curve[-1] == (3 * MOST_POINTS + 0.25, 1.0)
    assert MOST_POINTS / 2 <= len(curve) <= MOST_POINTS
    assert curve == sorted(curve)
