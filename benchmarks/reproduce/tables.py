"""The tables of docs/results.md, in Markdown, from records alone."""

from collections.abc import Iterable, Sequence
from statistics import mean, stdev
from typing import Any

from app.spec.methods import METHODS
from benchmarks.reproduce import cifar, hinton
from benchmarks.reproduce.methods import ALPHAS, TEMPERATURES
from benchmarks.reproduce.records import Records

Rows = list[Sequence[str]]
NOT_YET = "not run yet"


def seeds(records: Records, experiment: str) -> list[dict[str, Any]]:
    """The records of one experiment, in the order of their numbers."""
    found = [name for name in records if name.rpartition("/")[0] == experiment]
    return [records[name] for name in sorted(found, key=lambda name: int(name.rpartition("/")[2]))]


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation, as far as there is one."""
    if not values:
        return NOT_YET
    middle = f"{mean(values):.{digits}f}"
    return f"{middle} ± {stdev(values):.{digits}f}" if len(values) > 1 else middle


def each(values: Iterable[float], pattern: str = "{:,}") -> str:
    return ", ".join(pattern.format(value) for value in values)


def table(head: Sequence[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def classic(records: Records) -> str:
    """Whole transfer sets: the paper's errors beside ours."""
    rows: Rows = []
    wanted = [
        ("teacher, 1200-1200, dropout, max-norm, jitter", "a/teacher", 67),
        ("student, 800-800, labels alone", "a/plain", 146),
        *((f"student, soft targets at T = {t}", f"a/kd-{t}", 74 if t == 20 else None)
          for t in sorted(hinton.TEMPERATURES, reverse=True)),
        ("student, `logits`", "a/logits", None),
        ("student, ten teachers at T = 20", "a/ensemble", None),
        ("student that sees the jitter too, labels alone", "a/jittered-plain", None),
        ("student that sees the jitter too, soft targets at T = 20", "a/jittered-20", 74),
    ]  # fmt: skip
    for label, experiment, paper in wanted:
        errors = [record["errors"] for record in seeds(records, experiment)]
        if experiment == "a/ensemble" and errors:
            rows.append(_ten_teachers(records))
        verdict = ""
        if paper and errors:
            gap = mean(errors) - paper
            verdict = "reached" if gap <= 0 else f"**short by {gap:.1f}**"
        rows.append((label, str(paper or "-"), spread(errors), each(errors), verdict))
    return table(("test errors of 10,000", "paper", "here", "each seed", ""), rows)


def _ten_teachers(records: Records) -> Sequence[str]:
    errors = seeds(records, "a/ensemble")[0]["teacher_errors"]
    members = [record["errors"] for record in seeds(records, "a/member")]
    return (f"the ten teachers together ({spread(members)} alone)", "-", f"{errors}", "", "")


def budget(_records: Records) -> str:
    """Epochs and settings of part a, as `hinton.py` declares them."""
    rows: Rows = []
    teacher, student = hinton.TEACHER_TRAINING, hinton.STUDENT_TRAINING
    for label, epochs, training in (
        ("teacher", hinton.TEACHER_EPOCHS, teacher),
        ("teacher of the ensemble", hinton.MEMBER_EPOCHS, teacher),
        ("student", hinton.STUDENT_EPOCHS, student),
        ("student that sees the jitter", hinton.JITTERED_EPOCHS, student),
        ("student on 3 %", hinton.FEW_EPOCHS, student),
    ):
        optimizer = " ".join(str(value) for value in training["optimizer"].values())
        schedule = training["schedule"]["name"]
        rows.append((label, str(epochs), f"{optimizer}, {schedule}", str(training["batch_size"])))
    return table(("", "epochs", "optimiser", "batch"), rows)


def candidates(records: Records) -> str:
    """What networks read, by the teacher's errors on validation."""
    rows: Rows = []
    for number, (label, data) in enumerate(hinton.CANDIDATES.items()):
        chosen = data == hinton.HELD_OUT
        name = "a/held-out-teacher/0" if chosen else f"a/candidate/{number}"
        rows.append((label, _validation_errors(records, name)))
    return table(("teacher reads", "validation errors"), rows)


def search(records: Records) -> str:
    """Other ways to train the student at T = 20, by its errors on validation."""
    rows: Rows = [("as above", _validation_errors(records, "a/held-out-kd-20/0"))]
    for number, label in enumerate(hinton.SEARCH):
        rows.append((label, _validation_errors(records, f"a/search/{number}")))
    return table(("student, T = 20", "validation errors"), rows)


def _validation_errors(records: Records, name: str) -> str:
    record = records.get(name)
    return NOT_YET if record is None else str(round(10_000 * (1 - record["validation_accuracy"])))


def small(records: Records) -> str:
    """30 units in each layer, over T."""
    rows: Rows = []
    wanted = [("labels alone", "a/small-plain")]
    wanted += [(f"T = {t}", f"a/small-{t}") for t in sorted(hinton.SMALL_TEMPERATURES)]
    for label, experiment in wanted:
        errors = [record["errors"] for record in seeds(records, experiment)]
        rows.append((label, spread(errors), each(errors)))
    return table(("student 30-30", "test errors of 10,000", "each seed"), rows)


def chosen(records: Records) -> str:
    """Which T the validation examples would have chosen."""
    found = {
        t: record["validation_accuracy"]
        for t in hinton.TEMPERATURES
        for record in seeds(records, f"a/held-out-kd-{t}")
    }
    if not found:
        return f"T on validation: {NOT_YET}."
    best = max(found, key=lambda t: found[t])
    told = ", ".join(f"{t}: {round(10_000 * (1 - found[t]))}" for t in sorted(found))
    return f"Errors on the 10,000 validation examples, by T: {told}. Validation chooses T = {best}."


def deprived(records: Records) -> str:
    """Class-deprived transfer sets, before and after the bias repair."""
    rows: Rows = []
    for label, experiment, paper_before, paper_after in (
        ("no 3", "a/no-3", "206 (133 on threes)", "109 (14), bias 3.5"),
        ("only 7s and 8s", "a/only-7-8", "4,730", "1,320, bias 7.6"),
    ):
        repairs = [record["bias_repair"] for record in seeds(records, experiment)]
        before, after = (
            ", ".join(
                f"{one[when]['errors']:,} ({one[when]['errors_on_excluded']:,})" for one in repairs
            )
            for when in ("before", "after")
        )
        bias = each((one["bias"] for one in repairs), "{:.1f}")
        cells = (before or NOT_YET, paper_after, after, bias)
        rows.append((label, paper_before, *cells))
    head = ("transfer set", "paper", "here, each seed", "paper, repaired", "here, repaired", "bias")
    return table(head, rows)


def few(records: Records) -> str:
    """3 % of the data."""
    rows: Rows = []
    for label, experiment, paper in (
        ("hard targets, 3 %", "a/few-hard", "44.5 %"),
        ("soft targets, 3 %", "a/few-soft", "57.0 %"),
        ("hard targets, all", "a/plain", "58.9 %"),
    ):
        found = [100 - record["errors"] / 100 for record in seeds(records, experiment)]
        stopped = (
            each(r["best_epoch"] for r in seeds(records, experiment)) if "few" in experiment else ""
        )
        rows.append((label, paper, spread(found, 2), each(found, "{:.2f}"), stopped))
    head = (
        "trained on",
        "paper (frames of speech)",
        "MNIST accuracy, %",
        "each seed",
        "best epoch",
    )
    return table(head, rows)


def methods(records: Records) -> str:
    """Part b, best difference first."""
    rows: list[tuple[float, Sequence[str]]] = []
    for name in METHODS:
        for record in seeds(records, f"b/{name}"):
            change = record.get("difference")
            if change is None:
                continue
            student = [100 * pair[0] for pair in record["seeds"]]
            plain = [100 * pair[1] for pair in record["seeds"]]
            teacher = record.get("teacher_errors")
            low, high = (100 * bound for bound in change["interval"])
            cells = (
                f"`{name}`",
                f"{100 * (1 - teacher / record['examples']):.2f}" if teacher else "none",
                spread(plain, 2),
                spread(student, 2),
                f"{100 * change['accuracy']:+.2f} ({low:+.2f} to {high:+.2f})",
                record["verdict"],
                f"{record['seconds']:.0f}",
            )
            rows.append((change["accuracy"], cells))
    left = [f"`{name}`" for name in METHODS if name != "supervised"]
    left = [name for name in left if not any(cells[0] == name for _, cells in rows)]
    ranked = [cells for _, cells in sorted(rows, key=lambda row: -row[0])]
    ranked += [(name, *[NOT_YET] * 1, "", "", "", "", "") for name in left]
    head = (
        "method", "teacher", "baseline", "student", "difference (95 %)", "verdict", "seconds"
    )  # fmt: skip
    return table(head, ranked)


def grid(records: Records) -> str:
    """`kd` over temperature and alpha, in points of accuracy over the baseline."""
    rows = []
    for temperature in TEMPERATURES:
        cells = [f"T = {temperature}"]
        for alpha in ALPHAS:
            found = seeds(records, f"b/kd-{temperature}-{alpha}")
            change = found[0]["difference"] if found else None
            if change is None:
                cells.append(NOT_YET)
                continue
            low, high = (100 * bound for bound in change["interval"])
            cells.append(f"{100 * change['accuracy']:+.2f} ({low:+.2f} to {high:+.2f})")
        rows.append(cells)
    return table(("", *(f"alpha = {alpha}" for alpha in ALPHAS)), rows)


def cifar100(records: Records) -> str:
    """Part c at full scale, and whatever was tried at a smaller one, apart."""
    scales = {name.split("/")[0] for name in records if name[0] == "c"}
    parts = [_cifar(records, "c")]
    for at in sorted(scales - {"c"}):
        share = float(at.partition("@")[2])
        parts.append(
            f"**Not the table: a trial at scale {share:g}**, which is {50_000 * share:,.0f} train "
            f"and {10_000 * share:,.0f} test images and {max(round(240 * share), 1)} epochs. It "
            f"shows that every row runs.\n\n{_cifar(records, at)}"
        )
    return "\n\n".join(parts)


def _cifar(records: Records, at: str) -> str:
    rows: Rows = []
    for name, published in cifar.PUBLISHED.items():
        found = [
            100 * (1 - record["errors"] / record["examples"])
            for record in seeds(records, f"{at}/{name}")
        ]
        paper = [f"{published:.2f}"] if at == "c" else []
        rows.append((name, *paper, spread(found, 2), each(found, "{:.2f}")))
    head = (
        "resnet32x4 -> resnet8x4",
        *(["published"] if at == "c" else []),
        "here, %",
        "each seed",
    )
    return table(head, rows)


def sources(records: Records) -> str:
    """Which machines, days and commits the results come from, part by part."""
    rows: Rows = []
    for part in "abc":
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for name, record in records.items():
            if name[0] == part:
                at = (record["machine"], f"torch {record['torch']}, {record['precision']}")
                groups.setdefault(at, []).append(record)
        for (machine, how), found in groups.items():
            days = sorted({record["date"] for record in found})
            commits = sorted({record["commit"] for record in found})
            hours = sum(record["seconds"] for record in found) / 3600
            when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
            rows.append(
                (part, str(len(found)), f"{hours:.1f}", machine, how, when, ", ".join(commits))
            )
    return table(("part", "runs", "hours", "machine", "with", "dates", "commits"), rows)
