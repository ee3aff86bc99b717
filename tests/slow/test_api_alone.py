"""The API installs and starts without torch: `.[api]` alone, in a fresh environment."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def test_the_api_installs_and_starts_without_torch(tmp_path):
    venv.create(tmp_path / "venv", with_pip=False)
    python = str(tmp_path / "venv" / "bin" / "python")
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    subprocess.run([*uv, f"{ROOT}[api]"], check=True, timeout=600)

    absent = (
        "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ('torch', 'sklearn'))))"
    )
    # From elsewhere, so that it is the installed package that is found.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([python, "-c", absent], check=True, cwd=elsewhere)

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("STILLHOUSE_", "PYTHONPATH"))},
        "STILLHOUSE_HOME": str(tmp_path / "home"),
        "STILLHOUSE_PORT": str(port),
    }
    (tmp_path / "home").mkdir()
    migrate = [python, "-m", "app.migrate"]
    subprocess.run(migrate, check=True, env=environment, cwd=elsewhere, timeout=120)
    api = subprocess.Popen([python, "-m", "app.asgi"], env=environment, cwd=elsewhere)
    try:
        assert healthy(f"http://127.0.0.1:{port}", api)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/methods") as response:
            assert json.load(response)["data"]
        assert dashboard(f"http://127.0.0.1:{port}/")
    finally:
        api.terminate()
        assert api.wait(20) in (0, -15)


def dashboard(url: str) -> bool:
    """Whether the page has come with the package, and the files that it names."""
    with urllib.request.urlopen(url) as response:
        named = re.findall(r'(?:src|href)="(static/[^"]+)"', response.read().decode())
    for name in named:
        with urllib.request.urlopen(url + name) as response:
            assert response.read()
    return len(named) >= 6


def copy_of_the_source(target: Path) -> Path:
    """Building leaves files behind, and takes up old ones."""
    target.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, target)
    for package in ("app", "workers", "migrations"):
        shutil.copytree(
            ROOT / package, target / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return target


def healthy(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5) as response:
                return response.status == 200
        except urllib.error.URLError:
            time.sleep(0.2)
    return False
