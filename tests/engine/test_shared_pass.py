"""Two jobs at once that want the same of the teacher: one runs the pass, both train from it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.spec.jobfile import PreparedFile
from tests.engine.conftest import Recorder, job_file

# The pass of so small a teacher takes milliseconds: both jobs must come while it lasts.
SLOW = """
import sys, time
from pathlib import Path
from workers.engine.soft_targets import SoftTargets
from workers.runner import run_file
run_pass = SoftTargets._pass
def slow_pass(self, *arguments):
    print("PASS", flush=True)
    time.sleep(4)
    return run_pass(self, *arguments)
SoftTargets._pass = slow_pass
sys.exit(run_file(Path(sys.argv[1]), Path(sys.argv[2])))
"""
ROOT = Path(__file__).parents[2]


def test_one_pass_and_one_baseline_serve_both(
    digits: PreparedFile, teacher_file: Path, tmp_path: Path
) -> None:
    started = []
    for temperature in (1, 8):
        method = {"name": "kd", "temperature": temperature}
        file = job_file(digits, [teacher_file], method=method)
        path, out = tmp_path / f"{temperature}.json", tmp_path / f"{temperature}"
        path.write_text(file.model_dump_json())
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", SLOW, str(path), str(out)],
                env={**os.environ, "STILLHOUSE_HOME": str(tmp_path / "home")},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=ROOT,
            )
        )
    said = [process.communicate(timeout=90)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert sum(one.count("PASS") for one in said) == 1
    counted = [_report(tmp_path / name)["cache"] for name in ("1", "8")]
    for kind in ("soft_targets", "baselines"):
        assert sum(one[kind]["made"] for one in counted) == 1, counted
    events = [(tmp_path / name / "events.jsonl").read_text() for name in ("1", "8")]
    assert sum("another job has begun the same pass" in one for one in events) == 1
    # Each is the student that it would have been alone.
    students = {(tmp_path / name / "student.safetensors").read_bytes() for name in ("1", "8")}
    assert len(students) == 2


def test_the_report_says_what_was_found(run: Callable[..., tuple[Path, Recorder]]) -> None:
    first, second = (_report(run(name)[0]) for name in ("one", "two"))
    made, found = {"made": 1, "found": 0}, {"made": 0, "found": 1}
    assert first["cache"] == {"soft_targets": made, "baselines": made}
    assert second["cache"] == {"soft_targets": found, "baselines": found}


def test_the_report_compares_on_validation_too(
    run: Callable[..., tuple[Path, Recorder]],
) -> None:
    out, recorder = run("run", epochs=4)
    report = _report(out)
    best = report["student"]["best_epoch"]
    curve = recorder.curve("validation/accuracy")
    assert report["validation"]["accuracy"] == sorted(curve.items())[best - 1][1]
    measured = {"accuracy", "loss", "agreement", "teacher_accuracy"}
    assert set(report["validation"]) == measured
    (told,) = [one for one in recorder.all("artifact") if one["name"] == "report.json"]
    assert told["facts"]["validation"] == report["validation"]
    assert told["facts"]["accuracy"]["student"] == report["student"]["accuracy"]
    assert told["facts"]["difference"]["accuracy"] == report["difference"]["accuracy"]
    assert (told["facts"]["split"], told["facts"]["verdict"]) == ("test", report["verdict"])


def _report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "report.json").read_text())
    return found
