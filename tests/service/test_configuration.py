"""A wrong setting is one clear line and exit code 2, whatever is started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import get_settings, usable_home

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "api": ["app.asgi"],
    "serve": ["app.serve"],
    "migrate": ["app.migrate"],
    "projects": ["app.projects", "list"],
    "worker": ["celery", "-A", "workers.celery_app", "worker", "-Q", "light", "--pool", "threads"],
    "health check": ["workers.alive"],
}


def started(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("STILLHOUSE_")}
    return subprocess.run(
        [sys.executable, "-m", *command],
        env={**inherited, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_program_says_which(name: str, tmp_path: Path) -> None:
    done = started(
        COMMANDS[name], STILLHOUSE_HOME=str(tmp_path), STILLHOUSE_AUTH="maybe", STILLHOUSE_PORT="x"
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "stillhouse: STILLHOUSE_PORT: should be a valid integer, unable to parse string as an"
        " integer",
        "stillhouse: STILLHOUSE_AUTH: should be 'auto', 'on' or 'off'",
    ]
    assert not done.stdout


@pytest.mark.parametrize("name", ["api", "migrate", "worker"])
def test_a_home_that_cannot_be(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    done = started(COMMANDS[name], STILLHOUSE_HOME=str(home))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    # Celery has warned of running as root before, where it does.
    assert done.stderr.splitlines()[-1] == (
        f"stillhouse: STILLHOUSE_HOME: cannot write to {home}: Not a directory."
        " Name a directory of yours."
    )


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:1/none"
    for name in ("migrate", "serve"):
        done = started(
            COMMANDS[name],
            STILLHOUSE_HOME=str(tmp_path / name),
            STILLHOUSE_DATABASE_URL=url,
            STILLHOUSE_PORT="0",
        )
        assert done.returncode == 1
        assert "STILLHOUSE_DATABASE_URL" in done.stderr
        assert "127.0.0.1" in done.stderr
        assert "Traceback" not in done.stderr
        assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("LEASE_S", "0", "greater than or equal to 1"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("DATABASE_URL", "mysql://me:hunter2@host/db", "postgresql://"),
        ("BROKER_URL", "amqp://me:hunter2@host", "redis://"),
        ("STORAGE_URL", "ftp://host", "s3://"),
        ("DEVICE", "gpu", "auto, cpu, cuda or cuda:<n>"),
        ("WEBHOOK_ALLOW_NETWORKS", "10.0.0.0/8 nowhere", "IPv4 or IPv6 network"),
        ("OTEL", "jaeger", "off, console or http://host:4318"),
        ("RATE_LIMIT", "many", "600/minute, off or auto"),
        ("BOOTSTRAP_KEY", "hunter2", "sh_ and 26 to 128 random letters and digits"),
        ("URI_ALLOW", "everywhere", "https://host/prefix/"),
        ("URI_ALLOW_NETWORKS", "10.0.0.0/33", "IPv4 or IPv6 network"),
        ("KEEP_METRICS_DAYS", "-1", "greater than or equal to 0"),
    ],
)
def test_what_is_allowed_is_said_and_no_secret(
    name: str,
    value: str,
    allowed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"STILLHOUSE_{name}", value)
    get_settings.cache_clear()
    with pytest.raises(SystemExit) as ended:
        get_settings()
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert line.startswith(f"stillhouse: STILLHOUSE_{name}: ")
    assert allowed in line
    assert "hunter2" not in line


def test_a_good_environment_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "HOME": str(tmp_path / "new" / "home"),
        "DEVICE": "cuda:1",
        "OTEL": "http://collector:4318",
        "STORAGE_URL": "gs://bucket/prefix",
        "BROKER_URL": "redis+socket:///run/broker.sock",
        "DATABASE_URL": "postgresql+psycopg://host/db",
        "URI_ALLOW": "https://*.example.org, s3://bucket/{project}/",
        "URI_ALLOW_NETWORKS": "10.0.0.0/8,fd00::/8",
    }.items():
        monkeypatch.setenv(f"STILLHOUSE_{name}", value)
    get_settings.cache_clear()
    settings = get_settings()
    get_settings.cache_clear()
    assert usable_home(settings).is_dir()
    assert len(settings.uri_allow) == len(settings.uri_allow_networks) == 2
