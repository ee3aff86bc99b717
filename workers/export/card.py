"""card.md: what a person should know of a student before using it. The verdict comes first."""

from collections.abc import Collection
from typing import Any

SIDES = ("teacher", "student", "full_precision", "baseline")
WORST = 3
"""Classes named for being known least."""

USE = """\
```python
from load import load          # load.py of the bundle; needs torch and safetensors alone

student = load()               # in eval mode; normalises its input by itself
logits = student(batch)        # {rows}
```"""


def card(
    report: dict[str, Any],
    provenance: dict[str, Any],
    pictures: Collection[str],
    rows: str,
    *,
    bundled: bool = True,
) -> str:
    """In Markdown; `pictures` lie beside it, `rows` says what the student takes and gives,
    `bundled` whether there is a bundle to load."""
    parts = [
        f"# {report['name']}",
        report["sentence"],
        *([told["sentence"]] if (told := report.get("attribution")) else []),
        *_precision(report),
        _table(report),
        f"Measured on the {report['split']} split of the data set, in float32; "
        f"{_seen(report, provenance)}. Intervals are of 95 %.{_of_first_seed(report)}",
        *_shown(pictures),
        *(["## Use", USE.format(rows=rows)] if bundled else []),
        "## How it was made",
        _made(report, provenance),
        "## Know before use",
        "\n".join(f"- {line}" for line in _limits(report, provenance)),
    ]
    return "\n\n".join(parts) + "\n"


def _seen(report: dict[str, Any], provenance: dict[str, Any]) -> str:
    """What the examples of the reported split were used for besides."""
    if report["split"] == "train":
        return "the student was trained on it"
    if report["split"] == "test":
        return "the selection of epochs has not seen it"
    chosen = []
    if (provenance["job"]["select"] or {}).get("metric") != "last":
        chosen.append("the epoch")
    if report.get("bias_repair"):
        chosen.append("the bias of the classes left out")
    return f"{' and '.join(chosen)} was chosen by it" if chosen else "nothing was chosen by it"


def _of_first_seed(report: dict[str, Any]) -> str:
    """So that a table of one seed is not held against a sentence over all."""
    seeds = (report.get("difference") or {}).get("seeds", ())
    return " The table is of the first seed." if len(seeds) > 1 else ""


def _precision(report: dict[str, Any]) -> list[str]:
    quantization = report.get("quantization")
    if quantization is None:
        return []
    activations = quantization["activations"]
    read = "float32" if activations is None else f"{activations} bits"
    layers = ", ".join(quantization["layers"])
    return [f"Weights of {quantization['weights']} bits reading {read} in: {layers}."]


def _table(report: dict[str, Any]) -> str:
    rows: list[tuple[str, ...]] = [
        ("", "accuracy", "interval", "errors", "NLL", "ECE", "parameters", "bytes", "MFLOP", "ms")
    ]
    sides = {name: report.get(name) for name in SIDES}
    for name, side in {**sides, **report.get("controls", {})}.items():
        if side is not None:
            rows.append((name.replace("_", " "), *_cells(side)))
    table = ["| " + " | ".join(row) + " |" for row in rows]
    table.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(table)


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


def _shown(pictures: Collection[str]) -> list[str]:
    titles = {
        "curves.svg": "Accuracy on validation and loss in training",
        "reliability.svg": "Accuracy at each confidence",
        "per_class.svg": "Accuracy of each class",
    }
    return [f"![{title}]({name})" for name, title in titles.items() if name in pictures]


def _made(report: dict[str, Any], provenance: dict[str, Any]) -> str:
    job, data = provenance["job"], provenance["dataset"]
    training = job["training"]
    optimizer = training["optimizer"]
    rows = ", ".join(f"{count:,} {split}" for split, count in data["rows"].items())
    lines = [
        f"method: {_fields(report['method'])}",
        f"student: {_fields(job['student']['network'])}",
        *(
            f"teacher: {_fields(one['network'])}; `{one['sha256']}`"
            for one in provenance["teachers"]
        ),
        f"data: {data['name'] or data['id']} ({rows}); `{data['sha256']}`",
        f"license of the data: {data['license'] or 'not known'}",
        f"training: {training['epochs']} epochs in batches of {training['batch_size']}, "
        f"{_fields(optimizer)}, seed {training['seed']}",
        f"by Stillhouse {provenance['made_by']['stillhouse']} with torch "
        f"{provenance['made_by']['torch']}; provenance.json has all of it",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _fields(document: dict[str, Any]) -> str:
    """`kd` (temperature 4.0, alpha 0.9): what is null is left out."""
    kind = "name" if "name" in document else "family"
    told = [
        f"{name} {value}"
        for name, value in document.items()
        if name != kind and value is not None and not isinstance(value, dict)
    ]
    return f"`{document[kind]}`" + (f" ({', '.join(told)})" if told else "")


def _limits(report: dict[str, Any], provenance: dict[str, Any]) -> list[str]:
    lines = []
    student = report["student"]
    known = [row for row in student.get("per_class", ()) if row["accuracy"] is not None]
    worst = sorted(known, key=lambda row: (row["accuracy"], row["class"]))[:WORST]
    if worst and worst[0]["accuracy"] < 1:
        named = ", ".join(
            f"{row['name']} ({100 * row['accuracy']:.1f} % of {row['examples']:,})" for row in worst
        )
        lines.append(f"Known least: {named}.")
    if student.get("ece", 0) > 0.05:
        lines.append(
            f"Its confidence is off by {100 * student['ece']:.1f} points on average: do not take "
            "it for a probability."
        )
    if (difference := report["difference"]) and difference["over"] == "examples":
        lines.append(
            "One or two seeds say little of the method: another seed may turn out otherwise."
        )
    if classes := provenance["job"]["transfer"]["exclude_classes"]:
        lines.append(f"Classes {', '.join(map(str, classes))} were left out of training.")
    lines.append(
        "It answers with one of its classes whatever it is shown, and was measured on data like "
        "its training data alone."
    )
    return lines
