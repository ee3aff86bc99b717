"""What the README and the examples tell people to type, typed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import DATA

ROOT = Path(__file__).parents[2]
MNIST = DATA / "mnist" / "mnist.npz"


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.exists(), reason="MNIST is not there: set STILLHOUSE_DATA")
def test_the_contract_script_distils_mnist(service) -> None:
    """Teacher, T = 20, metrics, download, reload: written from the interface alone."""
    done = subprocess.run(
        [sys.executable, ROOT / "docs/examples/distil_mnist.py", MNIST, "--epochs", "2"],
        env={**os.environ, "STILLHOUSE_URL": str(service.http.base_url)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "held-out examples" in done.stdout
    reloaded = re.search(r"reloaded: ([0-9.]+), reported: ([0-9.]+)", done.stdout)
    assert reloaded
    assert float(reloaded[1]) > 0.9


@pytest.mark.slow
def test_the_readme_walk_works_as_written(service, tmp_path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    walk = [block for block in blocks if "curl" in block]  # the others are the client's to test
    address = str(service.http.base_url).rstrip("/")
    script = "\n".join(walk).replace("http://127.0.0.1:8000", address)
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert '"verdict"' in done.stdout
    assert '"best":{"job":"job_' in done.stdout
    assert (tmp_path / "student.safetensors").stat().st_size > 1000
