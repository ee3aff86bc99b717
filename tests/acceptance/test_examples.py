"""What the README and the examples tell people to type, typed."""

import json
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


def typed(text: str, folder: Path) -> str:
    """What a page tells to type, its files written beside it."""
    script = []
    for language, title, code in re.findall(
        r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', text, re.MULTILINE | re.DOTALL
    ):
        if title:
            (folder / title).write_text(code)
        elif language == "bash":
            script.append(code)
    return "\n".join(script)


def section(title: str) -> str:
    text = (ROOT / "README.md").read_text()
    found = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    assert found
    return found


def run(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_the_quickstart_works_as_written(service, tmp_path) -> None:
    script = typed((ROOT / "docs/quickstart.md").read_text(), tmp_path)
    home = tmp_path / "home"  # a login of the person who tests is not this service's
    done = run(
        script,
        tmp_path,
        STILLHOUSE_URL=str(service.http.base_url).rstrip("/"),
        XDG_CONFIG_HOME=str(home),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "held-out examples" in done.stdout
    reported = json.loads((tmp_path / "student" / "report.json").read_text())["student"]
    told = re.search(r"^accuracy: ([0-9.]+)$", done.stdout, re.MULTILINE)
    assert told
    assert float(told[1]) == pytest.approx(reported["accuracy"])
    assert reported["accuracy"] > 0.6


@pytest.mark.slow
def test_the_readme_runs_a_job_without_the_service(tmp_path) -> None:
    done = run(typed(section("Without the service"), tmp_path), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "student.safetensors").exists()
    assert (tmp_path / "run" / "student.zip").exists()


@pytest.mark.slow
def test_the_readme_s_ways_to_run_it_for_others(tmp_path) -> None:
    """But for what serves until it is stopped: other tests start that."""
    blocks = typed(section("Running it for others"), tmp_path).splitlines()
    serving = [line for line in blocks if re.match(r"python -m app\.asgi|celery ", line)]
    assert len(serving) == 3
    others = [line for line in blocks if line not in serving]
    script = "\n".join([typed(section("Keys and projects"), tmp_path), *others])
    old, new = tmp_path / "old", tmp_path / "new"
    script = script.replace("/backup/stillhouse", str(tmp_path / "copy"))
    again = "python -m app.backup restore"
    script = script.replace(again, f"STILLHOUSE_HOME={new} {again}")
    done = run(script, tmp_path, STILLHOUSE_HOME=str(old))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sh_" in done.stdout
    assert "restored the copy" in done.stdout
    assert (new / "stillhouse.db").exists()


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
    assert (tmp_path / "student.zip").stat().st_size > 1000
