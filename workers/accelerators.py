"""Which of this machine's accelerators a training gets."""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path


def visible(environment: Mapping[str, str] = os.environ, nodes: Path = Path("/dev")) -> int:
    """How many GPUs a trainer will see, told without torch: its import costs seconds."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return sum(bool(name.strip()) for name in chosen.split(","))
    return len(list(nodes.glob("nvidia[0-9]*")))


class Accelerators:
    """Hands trainings that run side by side to the GPUs in turn."""

    def __init__(self, device: str, count: int) -> None:
        """`device` is the setting: only `auto` and `cuda` leave a choice, and only of several."""
        several = count > 1 and device in ("auto", "cuda")
        self._devices = [f"cuda:{index}" for index in range(count)] if several else [device]
        self._busy: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def one(self) -> Iterator[str]:
        """The device that has the fewest trainings, for as long as the block lasts."""
        with self._lock:
            device = min(self._devices, key=lambda name: self._busy[name])
            self._busy[device] += 1
        try:
            yield device
        finally:
            with self._lock:
                self._busy[device] -= 1
