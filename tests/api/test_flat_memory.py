import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from app.migrate import upgrade
from app.settings import MIB, Settings

SIZE = 256 * MIB
ALLOWED = 32 * MIB


@pytest.fixture
def server(tmp_path: Path, broker_url: str) -> Iterator[tuple[psutil.Process, httpx.Client]]:
    """The API in a process of its own, as uvicorn starts it."""
    upgrade(Settings(home=tmp_path))
    environment = {
        **os.environ,
        "STILLHOUSE_HOME": str(tmp_path),
        "STILLHOUSE_BROKER_URL": broker_url,
        "STILLHOUSE_DATABASE_URL": "",
        "STILLHOUSE_UPLOAD_PART_BYTES": str(SIZE // 2),
    }
    command = [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", "--uds"]
    socket = str(tmp_path / "api.sock")
    with subprocess.Popen([*command, socket, "--log-level", "error"], env=environment) as process:
        transport = httpx.HTTPTransport(uds=socket)
        with httpx.Client(base_url="http://api", transport=transport, timeout=60) as api:
            wait_for(api)
            yield psutil.Process(process.pid), api
        process.terminate()


def test_a_large_file_passes_through_in_flat_memory(
    server: tuple[psutil.Process, httpx.Client],
) -> None:
    process, api = server
    block = os.urandom(MIB)
    warm = api.post("/files", content=block).json()["id"]
    api.get(f"/files/{warm}/content")
    before = process.memory_info().rss
    made = api.post("/files", content=(block for _ in range(SIZE // MIB))).json()
    assert made["size"] == SIZE
    received = 0
    most = process.memory_info().rss
    with api.stream("GET", f"/files/{made['id']}/content") as answer:
        for index, chunk in enumerate(answer.iter_raw()):
            received += len(chunk)
            if index % 100 == 0:
                most = max(most, process.memory_info().rss)
    assert received == SIZE
    assert most - before < ALLOWED


def test_parts_pass_through_in_flat_memory(
    server: tuple[psutil.Process, httpx.Client],
) -> None:
    process, api = server
    block = os.urandom(MIB)
    sha256 = hashlib.sha256()
    for _ in range(SIZE // MIB):
        sha256.update(block)
    body = {"filename": "w", "size": SIZE, "sha256": sha256.hexdigest()}
    upload = api.post("/uploads", json=body).json()
    assert len(upload["parts"]) == 2
    most = before = process.memory_info().rss
    for part in upload["parts"]:
        answer = api.put(part["url"], content=(block for _ in range(part["size"] // MIB)))
        assert answer.status_code == 200, answer.text
        most = max(most, process.memory_info().rss)
    file = api.post(f"/uploads/{upload['id']}/complete").json()
    assert file["size"] == SIZE
    assert max(most, process.memory_info().rss) - before < ALLOWED


def wait_for(api: httpx.Client) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            api.get("/healthz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError
