"""The whole service by one command: it starts, mends itself, and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from app.children import Child
from app.serve import CannotServe, address, check_extras, listen
from app.settings import Settings

START_S = 40


def start(home: Path, **environment: str) -> subprocess.Popen[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("STILLHOUSE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "app.serve"],
        env={
            **inherited,
            "STILLHOUSE_HOME": str(home),
            "STILLHOUSE_PORT": "0",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def served(home: Path) -> Iterator[tuple[psutil.Process, str]]:
    """A service that is ready: its process and URL. Stopped at the end, whatever happened."""
    process = start(home)
    try:
        deadline = time.monotonic() + START_S
        while not (home / "serve.json").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "not ready in time"
            time.sleep(0.05)
        found = json.loads((home / "serve.json").read_text())
        assert found["pid"] == process.pid
        yield psutil.Process(process.pid), found["url"]
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def family(process: psutil.Process) -> list[psutil.Process]:
    return process.children(recursive=True)


def gone(processes: list[psutil.Process], within_s: float) -> bool:
    return not psutil.wait_procs(processes, timeout=within_s)[1]


def named(process: psutil.Process, word: str) -> psutil.Process:
    (found,) = [child for child in process.children() if word in child.cmdline()]
    return found


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def status(url: str) -> int:
    # Long enough for an API that has just been killed to be there again on a busy machine.
    with urllib.request.urlopen(url, timeout=60) as response:
        return int(response.status)


def test_it_mends_itself_and_ctrl_c_leaves_nothing(tmp_path):
    home = tmp_path / "a home with spaces" / ("long" * 20)
    with served(home) as (process, url):
        assert status(f"{url}/readyz") == 200
        children = family(process)
        assert len(children) == 6, "broker, API, two workers, two idle trainers"

        second = start(home)
        said = second.communicate(timeout=20)[0]
        assert second.returncode == 1
        assert "already uses" in said

        api = named(process, "app.asgi")
        api.kill()
        # The socket outlives the process: clients wait instead of being refused.
        assert status(f"{url}/healthz") == 200
        assert named(process, "app.asgi").pid != api.pid

        children += family(process)
        process.send_signal(signal.SIGINT)
        assert gone([process, *children], within_s=15)
        assert not (home / "serve.json").exists()
    assert not list(Path("/tmp").glob("stillhouse-????????/broker.sock"))


def test_killed_without_a_chance_to_clean_up_it_leaves_nothing(tmp_path):
    with served(tmp_path) as (process, _):
        children = family(process)
        process.kill()
        assert gone(children, within_s=5)


def test_a_port_in_use_is_said(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(tmp_path, STILLHOUSE_PORT=str(taken.getsockname()[1]))
        said = process.communicate(timeout=20)[0]
    assert process.returncode == 1
    assert "STILLHOUSE_PORT" in said
    assert "Traceback" not in said
    assert not [p for p in psutil.process_iter() if str(tmp_path) in " ".join(words(p))]


def test_a_home_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    process = start(tmp_path / "file" / "home")
    said = process.communicate(timeout=20)[0]
    assert process.returncode == 1
    assert "STILLHOUSE_HOME" in said
    assert "Traceback" not in said


def test_missing_extras_are_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else 1)
    with pytest.raises(CannotServe, match=r"stillhouse\[worker\]"):
        check_extras(embedded=True)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_the_address_can_be_opened_here(host, url):
    assert address(host, 80) == url


def test_an_unknown_host_is_said(tmp_path):
    with pytest.raises(CannotServe, match="cannot listen"):
        listen(Settings(host="host.invalid", port=0, home=tmp_path))


def test_a_child_that_keeps_dying_is_started_again_ever_later(tmp_path):
    child = Child("c", [sys.executable, "-c", "raise SystemExit(7)"], os.environ, tmp_path)
    child.start()
    said: list[str] = []
    deadline = time.monotonic() + 10
    while len(said) < 3:
        assert time.monotonic() < deadline
        if news := child.mend():
            said.append(news)
        time.sleep(0.01)
    assert "exit code 7; starting it again in 0.5 s" in said[0]
    assert said[1] == "c is started again"
    assert "in 1.0 s" in said[2]
