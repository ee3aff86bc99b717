"""Documents that tell people what to type."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stillhouse import Stillhouse
from tests.acceptance.conftest import mlp
from tests.client.conftest import KEY

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TEN_LINES = ROOT / "docs/examples/ten_lines.py"


def section(title: str, language: str) -> str:
    """The code of a section of the README."""
    text = README.partition(f"## {title}\n")[2].partition("\n## ")[0]
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


def test_the_main_job_takes_ten_lines(
    still: Stillhouse, url: str, digits: str, folder: Path
) -> None:
    trained = still.jobs.create(
        dataset=digits,
        student={"network": mlp(256, 256)},
        method={"name": "supervised"},
        training={"epochs": 3},
    )
    trained.wait(120).download("teacher.safetensors")
    done = subprocess.run(
        [sys.executable, TEN_LINES],
        env={**os.environ, "STILLHOUSE_URL": url, "STILLHOUSE_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "held-out examples" in done.stdout
    assert (folder / "student.safetensors").stat().st_size > 1000


def test_ten_lines_are_ten() -> None:
    code = TEN_LINES.read_text().partition('"""\n\n')[2].splitlines()
    assert len([line for line in code if line]) == 10
    assert section("From Python", "python").splitlines() == code


@pytest.mark.slow
def test_the_readme_walks_from_the_command_line_to_a_student(url: str, folder: Path) -> None:
    done = subprocess.run(
        ["bash", "-euc", section("From the command line", "bash")],
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "STILLHOUSE_URL": url,
            "STILLHOUSE_KEY": KEY,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All is well" in done.stdout
    assert "distillation helped" in done.stdout
    assert (folder / "student.safetensors").stat().st_size > 1000


def test_the_readme_tells_every_exit_code() -> None:
    from stillhouse.cli import failures

    told = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, re.MULTILINE))
    known = dict(re.findall(r"^ *(\d+)  (.+)$", failures.__doc__ or "", re.MULTILINE))
    assert told == known
