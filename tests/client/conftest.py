"""The client against a real service on the embedded default, which asks for keys; and a bad line
between the two."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillhouse import Job, Retries, Stillhouse, Teacher
from tests.acceptance.conftest import Service, mlp
from tests.acceptance.conftest import serve as serve_all
from tests.client.command import Command
from tests.client.line import Line

KEY = "sh_" + "k" * 40
QUICK = Retries(attempts=4, first_s=0.01, longest_s=0.05)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    yield from serve_all(
        tmp_path_factory.mktemp("client") / "home",
        database="",
        broker="",
        environment={"STILLHOUSE_AUTH": "on", "STILLHOUSE_BOOTSTRAP_KEY": KEY},
    )


@pytest.fixture(scope="session")
def url(service: Service) -> str:
    return str(service.http.base_url).rstrip("/")


@pytest.fixture(autouse=True)
def nothing_stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No settings of the person who runs the tests; the folder where `login` stores."""
    for name in ("STILLHOUSE_URL", "STILLHOUSE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "stillhouse"


@pytest.fixture(scope="session")
def still(url: str) -> Iterator[Stillhouse]:
    with Stillhouse(url, KEY) as client:
        yield client


@pytest.fixture(scope="session")
def digits(still: Stillhouse) -> str:
    source = {"kind": "builtin", "name": "digits"}
    return still.datasets.create(name="digits", source=source).wait(60).id


@pytest.fixture(scope="session")
def teacher_job(still: Stillhouse, digits: str) -> Job:
    job = still.jobs.create(
        name="teacher",
        dataset=digits,
        student={"network": mlp(64)},
        method={"name": "supervised"},
        training={"epochs": 10, "optimizer": {"name": "adam"}},
    )
    return job.wait(120)


@pytest.fixture(scope="session")
def teacher(still: Stillhouse, teacher_job: Job) -> Teacher:
    return still.teachers.create(name="digits", job=teacher_job.id).wait(60)


@pytest.fixture(scope="session")
def job(still: Stillhouse, digits: str, teacher: Teacher) -> Job:
    """A distillation that has succeeded."""
    submitted = still.jobs.create(
        name="digits 12",
        teachers=[teacher.id],
        dataset=digits,
        student={"network": mlp(12)},
        method={"name": "kd", "temperature": 4, "alpha": 0.9},
        training={"epochs": 5, "optimizer": {"name": "adam", "lr": 0.003}},
        labels={"team": "tests"},
    )
    return submitted.wait(120)


@pytest.fixture
def line(url: str) -> Iterator[Line]:
    with Line(url) as between:
        yield between


@pytest.fixture
def over_line(line: Line) -> Iterator[Stillhouse]:
    """A client at the other end of the line."""
    with Stillhouse(line.url, KEY, retries=QUICK) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    here = tmp_path / "here"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def stillhouse(
    url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """The command line, with the service and a key in its environment."""
    monkeypatch.setenv("STILLHOUSE_URL", url)
    monkeypatch.setenv("STILLHOUSE_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "120")
    return Command(monkeypatch, capfd)
