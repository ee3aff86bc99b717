"""What nobody types twice is what the generator writes, and the client stands alone."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORBIDDEN = ("app", "workers", "torch", "fastapi", "sqlalchemy", "numpy", "pandas")


def test_generating_again_changes_nothing() -> None:
    command = [sys.executable, ROOT / "client/generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run `make client`: {done.stdout}{done.stderr}"


def test_the_sdk_imports_no_part_of_the_service_and_nothing_heavy() -> None:
    code = (
        "import sys, stillhouse; stillhouse.Stillhouse('http://127.0.0.1:9');"
        f"print([name for name in {FORBIDDEN} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
