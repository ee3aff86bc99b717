"""Artifacts of a finished job: the student, its report, its predictions, its card."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.spec.jobfile import JobFile
from app.spec.quantization import METADATA
from workers.engine.report import Answers
from workers.engine.reporter import Reporter, file_facts
from workers.networks.preprocess import Preprocessed
from workers.networks.store import save_network


class Publisher:
    """Writes files into the run's folder and tells the reporter of each."""

    def __init__(self, out: Path, reporter: Reporter) -> None:
        self.out, self.reporter = out, reporter

    def student(
        self,
        student: Preprocessed,
        file: JobFile,
        preprocess: dict[str, Any],
        class_names: Sequence[str] | None,
    ) -> None:
        """student.safetensors (float32 and integers, no id or time inside) and network.json."""
        save_network(student.network, self.out / "student.safetensors")
        document = {
            **file.job.student.network.model_dump(mode="json"),
            "preprocess": preprocess,
            "class_names": class_names,
        }
        if student.network.quantization is not None:
            document[METADATA] = student.network.quantization.model_dump(mode="json")
        self._json("network.json", document)
        self._tell("student.safetensors", "student", "safetensors")
        self._tell("network.json", "network", "json")

    def full_precision(self, student: Preprocessed) -> None:
        """full_precision.safetensors: what the student was before it was quantised."""
        save_network(student.network, self.out / "full_precision.safetensors")
        self._tell("full_precision.safetensors", "full_precision", "safetensors")

    def report(self, report: dict[str, Any]) -> None:
        """report.json, and the same for people in card.md."""
        self._json("report.json", report)
        (self.out / "card.md").write_text(card(report))
        self._tell("report.json", "report", "json", facts=figures(report))
        self._tell("card.md", "card", "markdown")

    def predictions(self, sides: dict[str, Answers | None], labels: Any) -> None:
        """predictions.parquet: per example its label and the class each side answered."""
        columns = {} if labels is None else {"label": labels.cpu().numpy()}
        columns |= {name: side.classes for name, side in sides.items() if side is not None}
        pq.write_table(pa.table(columns), self.out / "predictions.parquet")
        self._tell("predictions.parquet", "predictions", "parquet")

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


def card(report: dict[str, Any]) -> str:
    """A model card: the verdict first, then the table."""
    head = (
        "accuracy",
        "95 % interval",
        "errors",
        "NLL",
        "ECE",
        "parameters",
        "bytes",
        "MFLOP",
        "ms",
    )
    rows: list[tuple[str, ...]] = [("", *head)]
    sides = {
        name: report.get(name) for name in ("teacher", "student", "full_precision", "baseline")
    }
    for name, side in {**sides, **report.get("controls", {})}.items():
        if side is not None:
            rows.append((name.replace("_", " "), *_cells(side)))
    table = ["| " + " | ".join(row) + " |" for row in rows]
    table.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(
        [
            f"# {report['name']}",
            "",
            report["sentence"],
            "",
            *([told["sentence"], ""] if (told := report.get("attribution")) else []),
            *_precision(report),
            *table,
            "",
            f"Measured on the {report['split']} split of the data set, in float32.",
            "",
        ]
    )


def _precision(report: dict[str, Any]) -> list[str]:
    quantization = report.get("quantization")
    if quantization is None:
        return []
    activations = quantization["activations"]
    read = "float32" if activations is None else f"{activations} bits"
    layers = ", ".join(quantization["layers"])
    return [f"Weights of {quantization['weights']} bits reading {read} in: {layers}.", ""]


def _cells(side: dict[str, Any]) -> tuple[str, ...]:
    def cell(key: str, pattern: str, scale: float = 1) -> str:
        return pattern.format(side[key] * scale) if side.get(key) is not None else "-"

    interval = side.get("interval")
    return (
        cell("accuracy", "{:.2f} %", 100),
        f"{100 * interval[0]:.2f} - {100 * interval[1]:.2f}" if interval else "-",
        cell("errors", "{:,}"),
        cell("nll", "{:.4f}"),
        cell("ece", "{:.4f}"),
        cell("parameters", "{:,}"),
        cell("bytes", "{:,}"),
        cell("flops", "{:.3f}", 1e-6),
        cell("latency_ms", "{:.3f}"),
    )
