"""The kinds of job that suffer, and what each comes to when nobody disturbs it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.db import Database
from app.tables import MetricPoint, MetricSeries
from benchmarks.chaos.client import Client

Curves = dict[str, list[tuple[int, float | None]]]


@dataclass(frozen=True)
class Kind:
    """A job's body and its undisturbed result."""

    name: str
    body: dict[str, Any]
    sha256: str = ""
    curves: Curves | None = None
    steps: int = 0


def mlp(*hidden: int, **more: Any) -> dict[str, Any]:
    return {
        "network": {"family": "mlp", "inputs": 64, "hidden": list(hidden), "classes": 10} | more
    }


def kinds(client: Client) -> list[Kind]:
    """Jobs of a few seconds: methods, optimisers, augmentation, several seeds, baselines."""
    source = {"kind": "builtin", "name": "digits"}
    dataset = client.post("/datasets", {"name": "digits", "source": source}, key="data")["id"]
    assert client.settled(f"/datasets/{dataset}")["state"] == "ready"
    adam = {"name": "adam", "lr": 0.003}
    teachers = []
    for seed in (0, 1):
        body = {
            "dataset": dataset,
            "student": mlp(96),
            "method": {"name": "supervised"},
            "training": {"epochs": 10, "optimizer": adam, "seed": seed},
        }
        job = client.post("/jobs", body, key=f"teacher-job-{seed}")["id"]
        assert client.settled(f"/jobs/{job}")["state"] == "succeeded"
        made = client.post("/teachers", {"name": "t", "job": job}, key=f"teacher-{seed}")["id"]
        assert client.settled(f"/teachers/{made}")["state"] == "ready"
        teachers.append(made)

    def kind(name: str, training: dict[str, Any], **more: Any) -> Kind:
        training = {"log_every": 50, "eval_every": 10, **training}
        body = {"dataset": dataset, "student": mlp(24), "teachers": teachers[:1], **more}
        return Kind(name, body | {"training": training})

    shift = [{"name": "shift", "pixels": 1}]
    plain = {"method": {"name": "supervised"}, "teachers": []}
    return [
        kind("kd", {"epochs": 180, "seed": 1, "optimizer": adam}, baseline=None),
        kind("kd, baseline", {"epochs": 90, "seed": 2}),
        kind("kd, three seeds", {"epochs": 45, "seed": 3}, baseline={"seeds": 3}),
        kind("kd, ensemble", {"epochs": 120, "seed": 4}, teachers=teachers, baseline=None),
        kind("kd, dropout", {"epochs": 120, "seed": 5}, student=mlp(32, dropout=0.2)),
        kind("kd, half", {"epochs": 180, "seed": 6}, transfer={"fraction": 0.5}),
        kind(
            "kd, without threes",
            {"epochs": 120, "seed": 7},
            transfer={"exclude_classes": [3]},
            baseline=None,
        ),
        kind(
            "logits",
            {"epochs": 120, "seed": 8, "augment": shift, "optimizer": adam},
            method={"name": "logits"},
            baseline=None,
        ),
        kind(
            "logits, baseline",
            {"epochs": 75, "seed": 9, "optimizer": {"name": "adamw", "lr": 0.003}},
            method={"name": "logits", "alpha": 0.5},
        ),
        kind("supervised", {"epochs": 150, "seed": 10, "augment": shift}, **plain),
        kind(
            "supervised, steps",
            {
                "epochs": 150,
                "seed": 11,
                "batch_size": 64,
                "clip_norm": 1.0,
                "schedule": {"name": "step", "milestones": [60, 120], "warmup_epochs": 6},
            },
            **plain,
        ),
        kind("kd, bf16", {"epochs": 90, "seed": 12, "precision": "bf16"}, baseline=None),
    ]


def undisturbed(client: Client, database: Database, found: list[Kind]) -> list[Kind]:
    """Every kind run once, with its result."""
    jobs = []
    for number, kind in enumerate(found):
        body = {**kind.body, "name": f"reference-{number}"}
        jobs.append(client.post("/jobs", body, key=f"reference-{number}")["id"])
    references = []
    for kind, job in zip(found, jobs, strict=True):
        ended = client.settled(f"/jobs/{job}")
        assert ended["state"] == "succeeded", ended["error"]
        steps = ended["progress"]["step"]
        curves = curves_of(database, job)
        references.append(Kind(kind.name, kind.body, client.student_sha256(job), curves, steps))
    return references


def curves_of(database: Database, job: str) -> Curves:
    """Every curve but the speed, which no two runs share."""
    curves: Curves = {}
    with database.reading() as session:
        rows = session.execute(
            select(MetricSeries.key, MetricPoint.step, MetricPoint.value)
            .join(MetricPoint, MetricPoint.series_id == MetricSeries.id)
            .where(MetricSeries.job_id == job)
            .order_by(MetricSeries.key, MetricPoint.step)
        )
        for key, step, value in rows:
            if not key.endswith("samples_per_s"):
                curves.setdefault(key, []).append((step, value))
    return curves
