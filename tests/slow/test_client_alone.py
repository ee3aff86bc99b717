"""The client installs by itself, in a fresh environment: no torch, nothing of the service."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

ABSENT = ("app", "workers", "torch", "numpy", "pandas", "sqlalchemy", "fastapi", "celery")


def test_the_client_installs_and_runs_alone(tmp_path):
    source = tmp_path / "client"
    shutil.copytree(ROOT / "client", source, ignore=shutil.ignore_patterns("*.egg-info", "build"))
    venv.create(tmp_path / "venv", with_pip=False)
    programs = tmp_path / "venv" / "bin"
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", programs / "python"]
    subprocess.run([*uv, source], check=True, timeout=600)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("STILLHOUSE_", "PYTHONPATH"))},
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(programs / command[0]), *command[1:]],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    absent = f"import importlib.util as u; print([n for n in {ABSENT} if u.find_spec(n)])"
    assert run("python", "-c", absent).stdout.strip() == "[]"
    assert run("python", "-c", "from stillhouse import Stillhouse; Stillhouse()").returncode == 0
    assert run("stillhouse", "--version").stdout.strip()
    assert run("stillhouse", "init").returncode == 0
    served = run("stillhouse", "serve")
    assert served.returncode == 2
    assert "The service is not installed here" in served.stderr
    (elsewhere / "teacher.pt").write_bytes(b"")
    converted = run("stillhouse", "teachers", "add", "teacher.pt", "--network", "{family: mlp}")
    assert converted.returncode == 1
    assert "needs torch and safetensors on this machine" in converted.stderr
    doctor = run("stillhouse", "doctor")
    assert doctor.returncode == 1
    assert "cannot be converted here without torch and safetensors" in doctor.stdout
