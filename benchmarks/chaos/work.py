"""What clients do meanwhile: submit, repeat themselves, pause, resume, cancel, clone."""

import itertools
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from benchmarks.chaos.client import Client, Refused
from benchmarks.chaos.kinds import Kind

CLIENTS = 10
"""At work side by side: as many jobs are queued or running."""
TWICE, PAUSED, CANCELLED, CLONED = 0.2, 0.08, 0.05, 0.08
"""Shares of the jobs that are submitted twice at once, paused and resumed, cancelled, cloned."""


@dataclass
class Submitted:
    """A job that the service has accepted."""

    key: str
    kind: Kind
    expected: str = "succeeded"


@dataclass
class Work:
    """Keeps `CLIENTS` jobs going until `enough` says so."""

    client: Client
    kinds: list[Kind]
    seed: int
    jobs: dict[str, Submitted] = field(default_factory=dict)
    acts: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    ended: int = 0

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.enough = threading.Event()
        self._threads = [
            threading.Thread(target=self._live, name=f"client-{number}", daemon=True)
            for number in range(CLIENTS)
        ]
        # Each POST that is sent twice at once has a second sender here.
        self._twins = ThreadPoolExecutor(CLIENTS)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Waits for every job that was submitted to end."""
        for thread in self._threads:
            thread.join()
        self._twins.shutdown()

    def note(self, job: str, key: str, kind: Kind) -> None:
        with self._lock:
            self.jobs[job] = Submitted(key, kind)

    def next_key(self) -> tuple[str, Kind, random.Random]:
        """A key, a kind and dice of the next job: the same ones in every run with this seed."""
        with self._lock:
            number = next(self._numbers)
        return (
            f"chaos-{number}",
            self.kinds[number % len(self.kinds)],
            random.Random(f"{self.seed}/{number}"),
        )

    def _live(self) -> None:
        while not self.enough.is_set():
            key, kind, dice = self.next_key()
            try:
                self._job(key, kind, dice)
            except Exception as error:  # told in the audit
                self.troubles.append(f"{key}: {type(error).__name__}: {error}")

    def _job(self, key: str, kind: Kind, dice: random.Random) -> None:
        body = {**kind.body, "name": key}
        if dice.random() < TWICE:
            self.acts["submitted twice at once"] += 1
            twin = self._twins.submit(self.client.post, "/jobs", body, key=key)
            job = self.client.post("/jobs", body, key=key)["id"]
            twin.result()
        else:
            job = self.client.post("/jobs", body, key=key)["id"]
        self.note(job, key, kind)
        self._steer(job, dice)
        self._end(job)
        if dice.random() < CLONED:
            self.acts["cloned"] += 1
            clone_key = f"{key}-clone"
            overrides = {"overrides": {"name": clone_key}}
            clone = self.client.post(f"/jobs/{job}/clone", overrides, key=clone_key)["id"]
            self.note(clone, clone_key, kind)
            self._end(clone)

    def _steer(self, job: str, dice: random.Random) -> None:
        lot = dice.random()
        if lot < PAUSED + CANCELLED:
            time.sleep(dice.uniform(0, 4))
        if lot < PAUSED and self._asked(job, "pause"):
            self.client.settled(f"/jobs/{job}")
            self._asked(job, "resume")
        elif PAUSED <= lot < PAUSED + CANCELLED and self._asked(job, "cancel"):
            self.jobs[job].expected = "cancelled"

    def _asked(self, job: str, verb: str) -> bool:
        """Whether it was not too late for that."""
        try:
            self.client.post(f"/jobs/{job}/{verb}")
        except Refused as refused:
            if refused.answer.status_code != 409:
                raise
            return False
        self.acts[{"pause": "paused", "resume": "resumed", "cancel": "cancelled"}[verb]] += 1
        return True

    def _end(self, job: str) -> None:
        while (ended := self.client.settled(f"/jobs/{job}"))["state"] == "paused":
            self._asked(job, "resume")
        with self._lock:
            self.ended += 1
        assert ended["is_terminal"]
