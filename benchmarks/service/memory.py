"""How much a process grows."""

import threading

import psutil

MIB = 1024 * 1024


class Memory:
    """The largest resident size of a process in a with block, sampled a hundred times a second."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.start = self.peak = process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._over.wait(0.01):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def growth_mib(self) -> float:
        return (self.peak - self.start) / MIB
