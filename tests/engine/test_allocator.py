"""Memory is kept between steps, in a process of its own: the setting lasts as long as that."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from workers.engine.allocator import keep_memory

def faults(steps=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        blocks = [torch.ones(size) for size in (200_000, 640_000, 5_000_000)]
        del blocks
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / steps

plain = faults()
assert keep_memory()
faults(2)
print(plain, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_steps_cost_no_page_faults() -> None:
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    ).stdout
    plain, kept = map(float, told.split())
    assert kept < 10 < plain
