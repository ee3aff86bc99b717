"""Threads sleep while the cores are shared; results never depend on it."""

import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from workers.engine.waiting import ALONE, SHARED, Watch, considerate, stood_ready


def test_it_switches_at_its_thresholds_and_not_between() -> None:
    watch = Watch(60)
    for share, asleep in (
        (0.0, False), ((ALONE + SHARED) / 2, False), (SHARED + 0.01, True),
        ((ALONE + SHARED) / 2, True), (ALONE - 0.01, False),
    ):  # fmt: skip
        watch.look(share)
        assert watch.asleep is asleep


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long threads waited")
def test_a_training_beside_busy_processes_is_noticed() -> None:
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in os.sched_getaffinity(0)
    ]
    try:
        with considerate(0.2) as watch:
            deadline = time.monotonic() + 20
            while not watch.asleep and time.monotonic() < deadline:
                torch.randn(400, 400) @ torch.randn(400, 400)
            assert watch.asleep
        assert not watch.asleep
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long threads waited")
def test_threads_that_come_and_go_do_not_confuse_it() -> None:
    """A thread that ends takes its waiting with it; one that is new has waited from its birth."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    before = stood_ready()
    thread.start()
    during = stood_ready()
    ended.set()
    thread.join()
    assert len(during) > len(before) > 0
    assert before.keys() <= during.keys()
    assert all(during[task] >= seconds for task, seconds in before.items())


def test_products_are_the_same_bits_spinning_or_asleep() -> None:
    a, b = torch.randn(300, 300), torch.randn(300, 300)
    spinning = a @ b
    watch = Watch(60)
    watch.look(1.0)
    assert torch.equal(a @ b, spinning)
    watch.look(0.0)
