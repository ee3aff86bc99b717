"""Every operation of the OpenAPI document, fuzzed: nothing a client sends may answer 5xx."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings
from tests.api.helpers import serve


@pytest.mark.slow
def test_no_request_answers_with_a_server_error(settings: Settings, tmp_path: Path) -> None:
    with serve(settings) as address:
        done = subprocess.run(
            [
                Path(sys.executable).parent / "schemathesis",
                "run",
                f"{address}/openapi.json",
                "--checks=not_a_server_error,response_schema_conformance,status_code_conformance",
                "--max-examples=25",
                "--seed=1",
                "--exclude-path=/readyz",  # no worker runs here: 503 is the truth
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
