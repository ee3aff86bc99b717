"""Artifacts of a finished job: the student, its report, its predictions, its card, its bundle."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.spec.dataset import DatasetFacts
from app.spec.jobfile import JobFile
from app.spec.quantization import METADATA, Quantization
from workers.engine.curves import Curves
from workers.engine.report import Answers
from workers.engine.reporter import Reporter, file_facts
from workers.export.bundle import write_bundle
from workers.export.card import card
from workers.export.loader import NotPortable, loader
from workers.export.pictures import pictures
from workers.networks.preprocess import Preprocessed
from workers.networks.store import save_network

LOADER = "load.py"
LICENSE = """\
The weights in this bundle were trained on "{name}", whose license is:

    {license}

What it asks for (attribution, say) may go for the weights too.
"""


class Publisher:
    """Writes files into the run's folder and tells the reporter of each."""

    def __init__(self, out: Path, reporter: Reporter, file: JobFile, facts: DatasetFacts) -> None:
        self.out, self.reporter, self.facts = out, reporter, facts
        self.network = file.job.student.network
        self._quantization: Quantization | None = None

    def student(self, student: Preprocessed) -> None:
        """student.safetensors (float32 and integers, no id or time inside) and network.json."""
        save_network(student.network, self.out / "student.safetensors")
        document = {
            **self.network.model_dump(mode="json"),
            "preprocess": self.facts.preprocess.model_dump(mode="json"),
            "class_names": self.facts.class_names,
            "input": {"shape": self.facts.feature_shape, "dtype": self.facts.feature_dtype},
        }
        self._quantization = quantization = student.network.quantization
        facts = {} if quantization is None else {METADATA: quantization.model_dump(mode="json")}
        self._json("network.json", document | facts)
        self._tell("student.safetensors", "student", "safetensors", facts=facts)
        self._tell("network.json", "network", "json")

    def full_precision(self, student: Preprocessed) -> None:
        """full_precision.safetensors: what the student was before it was quantised."""
        save_network(student.network, self.out / "full_precision.safetensors")
        self._tell("full_precision.safetensors", "full_precision", "safetensors")

    def report(self, report: dict[str, Any]) -> None:
        """report.json."""
        self._json("report.json", report)
        self._tell("report.json", "report", "json", facts=figures(report))

    def predictions(self, sides: dict[str, Answers | None], labels: Any) -> None:
        """predictions.parquet: per example its label and the class each side answered."""
        columns = {} if labels is None else {"label": labels.cpu().numpy()}
        columns |= {name: side.classes for name, side in sides.items() if side is not None}
        pq.write_table(pa.table(columns), self.out / "predictions.parquet")
        self._tell("predictions.parquet", "predictions", "parquet")

    def card(self, report: dict[str, Any], curves: Curves, origin: dict[str, Any]) -> None:
        """card.md and its pictures, provenance.json, and the bundle of all that: student.zip.

        `origin` is what provenance.json says beside the hashes of the files.
        """
        drawn = pictures(report, curves)
        for name, text in drawn.items():
            (self.out / name).write_text(text)
            self._tell(name, "picture", "svg")
        names = ["student.safetensors", "network.json", "report.json", *drawn]
        names += self._loader() + self._license(origin["dataset"])
        files = {name: file_facts(self.out / name) for name in names}
        told = {name: {"sha256": one["sha256"], "size": one["size"]} for name, one in files.items()}
        self._json("provenance.json", {**origin, "files": told})
        self._tell("provenance.json", "provenance", "json")
        (self.out / "card.md").write_text(
            card(report, origin, drawn, self._rows(), bundled=LOADER in names)
        )
        self._tell("card.md", "card", "markdown")
        if LOADER in names:
            write_bundle(self.out / "student.zip", self.out, ["card.md", "provenance.json", *names])
            self._tell("student.zip", "student", "bundle")

    def _loader(self) -> list[str]:
        """load.py; nothing for a network that cannot be had without this project."""
        try:
            text = loader(self.network, self._quantization, rows=self._rows())
        except NotPortable as reason:
            print(f"there will be no bundle: {reason}", flush=True)  # noqa: T201
            return []
        (self.out / LOADER).write_text(text)
        return [LOADER]

    def _license(self, data: dict[str, Any]) -> list[str]:
        if not data["license"]:
            return []
        text = LICENSE.format(name=data["name"] or data["id"], license=data["license"])
        (self.out / "LICENSE.txt").write_text(text)
        return ["LICENSE.txt"]

    def _rows(self) -> str:
        """What goes into the student and comes out, in words."""
        shape = " x ".join(map(str, ("N", *self.facts.feature_shape)))
        return f"{shape} ({self.facts.feature_dtype}, as stored) -> N x {self.network.classes}"

    def _json(self, name: str, document: dict[str, Any]) -> None:
        (self.out / name).write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")

    def _tell(self, name: str, kind: str, format_: str, **more: Any) -> None:
        self.reporter.send(
            "artifact", name=name, kind=kind, format=format_, **file_facts(self.out / name), **more
        )


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """What a table of many jobs shows of each: the row keeps it, so that none is opened for it."""
    sides = ("teacher", "student", "baseline")
    change = report["difference"]
    return {
        "split": report["split"],
        "accuracy": {side: (report[side] or {}).get("accuracy") for side in sides},
        "validation": report["validation"],
        "difference": change and {name: change[name] for name in ("accuracy", "interval", "p")},
        "verdict": report["verdict"],
    }
