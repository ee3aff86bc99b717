"""The command line is there at once, draws what it should, and knows what is wrong."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stillhouse import Retries, config
from stillhouse.cli.plot import Curve, chart, together
from stillhouse.retries import retry_after
from tests.client.command import COMMAND, Command, alone
from tests.client.conftest import KEY
from tests.client.line import Line, refused

LATE = ("httpx", "stillhouse.models", "rich", "ruamel", "asyncio", "torch", "pandas", "numpy")


@pytest.mark.parametrize("words", [["--help"], ["jobs", "--help"], ["jobs", "submit", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\nfrom stillhouse.cli.main import app\n"
        f"try:\n    app({words!r})\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {LATE} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_command_line_starts_at_once() -> None:
    """Beside bare Python, so that a busy machine counts for both."""

    def quickest(command: list[str]) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            times.append(time.perf_counter() - began)
        return min(times)

    bare, ours = quickest([sys.executable, "-c", "pass"]), quickest([*COMMAND, "--help"])
    assert ours < 0.3 or ours < 8 * bare


def test_completion_is_offered() -> None:
    """The installed command, whatever shell runs the tests, or none."""
    script = subprocess.run(
        [Path(sys.executable).with_name("stillhouse")],
        env={**os.environ, "_STILLHOUSE_COMPLETE": "source_bash"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    asked = "COMP_WORDS=(stillhouse job) COMP_CWORD=1; _stillhouse_completion stillhouse"
    offered = subprocess.run(
        ["bash", "-c", f"{script}\n{asked}\necho ${{COMPREPLY[@]}}"],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "jobs" in offered.stdout.split()


def test_a_chart() -> None:
    drawn = chart("loss", [Curve("", [0, 1, 2, 3], [3.0, 2.0, None, 0.0])], width=20, height=3)
    assert [line.rstrip() for line in drawn.plain.splitlines()] == [
        "loss  ━ 0",
        "  3 ┤⠉⠒⠤⢄⡀",
        "1.5 ┤    ⠈⠁",
        "  0 ┤              ⢀",
        "     0        3 step",
    ]
    assert chart("none", [Curve("none", [], [])], width=20, height=3).plain == "no points yet"
    assert (
        "nan" not in chart("flat", [Curve("flat", [1], [float("nan")])], width=20, height=3).plain
    )


def test_baselines_are_drawn_from_where_the_student_begins() -> None:
    curves = [
        Curve("baseline/0/train/loss", [11, 20], [2.0, 0.01]),
        Curve("train/loss", [1, 10], [3.0, 0.1]),
        Curve("validation/accuracy", [10], [0.9]),
    ]
    groups = together(curves)
    assert [(one.label, list(one.x)) for one in groups["train/loss"]] == [
        ("student", [1, 10]),
        ("baseline", [1, 10]),
    ]
    assert [one.label for one in groups["validation/accuracy"]] == [""]
    drawn = chart("train/loss", groups["train/loss"], width=30, height=4).plain
    assert drawn.startswith("train/loss (log)  ━ student 0.1 ━ baseline 0.01")


def test_pauses_double_until_retry_after_says_otherwise() -> None:
    retries = Retries(attempts=4, first_s=1, longest_s=3)
    pauses = [retries.pause(attempt) for attempt in (1, 2, 3, 4)]
    assert pauses[3] is None
    for pause, most in zip(pauses, (1, 2, 3), strict=False):
        assert pause is not None
        assert most / 2 <= pause <= most
    assert retries.pause(1, 7.0) == 7.0
    assert retries.pause(1, 3600.0) is None
    assert retry_after("3") == 3.0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("soon") is None


def test_a_key_is_given_to_its_own_service_alone(
    nothing_stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config.store("example.org:80/", "sh_one")
    config.store("http://other", "sh_two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert config.read().key == "sh_two"
    assert config.read("http://example.org:80").key == "sh_one"
    assert config.read("http://third").key is None
    monkeypatch.setenv("STILLHOUSE_KEY", "sh_env")
    assert config.read("http://third").key == "sh_env"
    assert config.read("http://third", "sh_given").key == "sh_given"


def test_a_broken_config_is_told(nothing_stored: Path) -> None:
    nothing_stored.mkdir(parents=True)
    (nothing_stored / "config.json").write_text("{")
    done = alone("jobs", "list")
    assert done.returncode == 1
    assert "stillhouse login" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_finds_nothing(stillhouse: Command) -> None:
    told = stillhouse("doctor").out
    assert "All is well" in told
    checked = {it["what"] for it in stillhouse("doctor", "--json").json["findings"]}
    assert {"address", "clock", "key", "database", "broker", "storage", "worker", "room"} <= checked


def test_doctor_finds_a_wrong_key(stillhouse: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_KEY", "sh_" + "x" * 30)
    told = stillhouse("doctor", code=1).out
    assert "To mend: key." in told


def test_doctor_finds_nobody_there(stillhouse: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_URL", "http://127.0.0.1:9")
    told = stillhouse("doctor", code=1).out
    assert "To mend: address." in told
    assert "stillhouse serve" in told


def test_doctor_finds_a_missing_part_a_wrong_clock_and_an_open_file(
    stillhouse: Command, line: Line, monkeypatch: pytest.MonkeyPatch, nothing_stored: Path
) -> None:
    monkeypatch.setenv("STILLHOUSE_URL", line.url)
    line.spoil("GET", "/readyz", refused(503, "not_ready"))
    line.spoil("GET", "/healthz", lambda handler: handler.give(
        200, {"content-type": "application/json"}, b'{"status": "ok"}'
    ))  # fmt: skip
    config.store(line.url, KEY).chmod(0o644)
    findings = {it["what"]: it for it in stillhouse("doctor", "--json", code=1).json["findings"]}
    assert "chmod 600" in findings["settings"]["mend"]
    assert findings["service"]["grade"] == "wrong"
    assert findings["clock"]["grade"] == "ok"
