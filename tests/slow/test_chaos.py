"""`make chaos` itself, in small: it runs, breaks something, and finds nothing wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("setup", ["embedded", "postgres"])
def test_a_short_run_loses_nothing(tmp_path: Path, setup: str) -> None:
    table = tmp_path / "table.md"
    command = [sys.executable, "-m", "benchmarks.chaos", "--jobs", "12", "--faults", "4"]
    command += ["--seed", "5", "--on", setup, "--table", str(table)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    counts = dict(re.findall(r"\| (.+?) \| ([\d,]+) \|", table.read_text()))
    assert int(counts["**jobs**"].replace(",", "")) >= 12
    assert int(counts["**faults**"]) >= 4
    assert {counts["**lost**"], counts["**accepted twice**"], counts["**orphan blobs**"]} == {"0"}
