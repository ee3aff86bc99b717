"""The command line, run in this process (quick) or in one of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from stillhouse.cli.main import main

COMMAND = [sys.executable, "-m", "stillhouse.cli.main"]


@dataclass
class Done:
    """What a command has left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """`stillhouse(...)` as a person would type it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def __call__(self, *words: object, code: int = 0) -> Done:
        self._capfd.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["stillhouse", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        done = Done(int(ended.value.code or 0), *self._capfd.readouterr())
        assert done.code == code, done
        assert "Traceback" not in done.err
        return done


def alone(
    *words: object, text: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as an installed command."""
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        input=text,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
