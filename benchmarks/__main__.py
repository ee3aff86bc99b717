"""All measurements of `make bench`, with the machine they were made on."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime

import torch

RUNS = (
    ("benchmarks.training", "mnist"),
    ("benchmarks.training", "resnet"),
    ("benchmarks.service",),
)


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            return next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor()


def main() -> int:
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores", flush=True)
    print(f"torch {torch.__version__}, Python {platform.python_version()}", flush=True)
    codes = []
    for module, *arguments in RUNS:
        print(f"\n## python -m {module} {' '.join(arguments)}\n", flush=True)
        codes.append(subprocess.run([sys.executable, "-m", module, *arguments]).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
