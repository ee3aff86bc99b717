"""A sweep on a real service that trains two jobs at a time."""

from typing import Any

import pytest

from benchmarks.service.hosts import service, wait
from benchmarks.service.jobs import NETWORK, digits, post, settled, supervised


@pytest.mark.slow
def test_one_teacher_pass_serves_all_jobs_of_a_sweep() -> None:
    with service(WORKERS="2") as host, host.client() as client:
        dataset = digits(client)
        made = post(client, "/jobs", supervised(dataset, 64, 5))["id"]
        settled(client, f"/jobs/{made}")
        teacher = post(client, "/teachers", {"name": "t", "job": made})["id"]
        settled(client, f"/teachers/{teacher}")
        job = {
            "teachers": [teacher],
            "dataset": dataset,
            "student": {"network": {**NETWORK, "hidden": [12]}},
            "training": {"epochs": 5},
        }
        grid = {"method.temperature": [1, 2, 4, 8], "method.alpha": [0.5, 0.9]}
        sweep = post(client, "/sweeps", {"name": "s", "job": job, "grid": grid})["id"]

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = client.get(f"/sweeps/{sweep}").json()
            return found if found["is_terminal"] else None

        found = wait(ended, 240)
        assert found["jobs"] == {"succeeded": 8}
        reports = {
            row["job"]: client.get(f"/jobs/{row['job']}/report").json() for row in found["results"]
        }
        for kind in ("soft_targets", "baselines"):
            assert sum(report["cache"][kind]["made"] for report in reports.values()) == 1
        for row in found["results"]:
            report = reports[row["job"]]
            assert row["test_accuracy"] == report["student"]["accuracy"]
            assert row["baseline_accuracy"] == report["baseline"]["accuracy"]
            assert row["verdict"] == report["verdict"]
        best = max(found["results"], key=lambda row: row["validation"]["accuracy"])
        assert found["best"]["value"] == best["validation"]["accuracy"]
        assert client.delete(f"/sweeps/{sweep}").status_code == 204
        assert client.get("/jobs").json()["data"][0]["id"] == made
