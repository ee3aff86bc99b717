"""`make demo` runs through, and leaves nothing behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def test_the_demo_agrees_with_itself(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STILLHOUSE_")}
    environment["TMPDIR"] = str(tmp_path)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.demo"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("reloaded with numpy: the same") == 2
    assert time.monotonic() - began < 90
    assert list(tmp_path.iterdir()) == []
    strays = [p.cmdline() for p in psutil.process_iter() if str(tmp_path) in " ".join(_words(p))]
    assert strays == []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
