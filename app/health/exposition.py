"""What Prometheus reads: the database's facts, which every API process tells alike, and what this
process has seen of requests."""

from collections.abc import Iterator

import structlog
from prometheus_client import (
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from app.db import Database
from app.health.facts import Facts, Watch
from app.states import State
from app.storage import Storage

MEDIA_TYPE = CONTENT_TYPE_LATEST
COUNTERS = {
    "sweeps": "Sweeps for jobs that nobody heard of.",
    "rung": "Messages that sweepers sent again.",
    "recovered": "Attempts that sweepers ended because their worker went silent.",
    "poisoned": "Jobs failed for too many attempts without progress.",
    "removed": "Blobs removed that nothing referred to.",
    "expired": "Artifacts and curves removed for their age.",
    "walks": "Walks through the whole storage for bytes that no row knows.",
}

# A second line for every histogram's birth, which only other formats need.
disable_created_metrics()  # type: ignore[no-untyped-call]

log = structlog.get_logger()


class Exposition:
    """One API process's metrics: whoever has some registers them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def watch(self, database: Database, storage: Storage) -> None:
        self.registry.register(_Gauges(Watch(database), storage))

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Gauges(Collector):
    """Asks when it is scraped. A database that is away is one of the things to be seen here."""

    def __init__(self, watch: Watch, storage: Storage) -> None:
        self._watch = watch
        self._storage = storage

    def describe(self) -> Iterator[Metric]:
        """Nothing, without which registering would scrape."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("stillhouse_database_up", "Whether the database answers.")
        try:
            facts = self._watch.facts()
        except SQLAlchemyError as error:
            log.warning("metrics_without_database", error=str(error))
            up.add_metric((), 0)
        else:
            up.add_metric((), 1)
            yield from _of_database(facts)
        yield up
        yield GaugeMetricFamily(
            "stillhouse_storage_free_bytes",
            "Room for uploads on this process's disk.",
            value=self._storage.room(),
        )


def _of_database(facts: Facts) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "stillhouse_jobs", "Jobs that have not ended.", labels=("queue", "state")
    )
    waiting = GaugeMetricFamily(
        "stillhouse_oldest_queued_seconds",
        "Since the oldest queued job was submitted; 0 where none is queued.",
        labels=("queue",),
    )
    for queue in sorted({one.queue for one in facts.jobs}):
        of_queue = [one for one in facts.jobs if one.queue == queue]
        queued = [one.oldest_s for one in of_queue if one.state == State.QUEUED]
        waiting.add_metric((queue,), max(queued, default=0.0))
        for one in of_queue:
            jobs.add_metric((queue, one.state), one.count)
    yield jobs
    yield waiting
    yield GaugeMetricFamily(
        "stillhouse_running_jobs",
        "Jobs that an attempt holds.",
        value=sum(one.count for one in facts.jobs if one.lease_left_s is not None),
    )
    leases = [one.lease_left_s for one in facts.jobs if one.lease_left_s is not None]
    if leases:
        yield GaugeMetricFamily(
            "stillhouse_oldest_lease_seconds",
            "Until the lease of the job that was not heard of for longest runs out;"
            " far below 0, nobody sweeps.",
            value=min(leases),
        )
    yield from _of_workers(facts)
    checking = GaugeMetricFamily(
        "stillhouse_checking",
        "Teachers and datasets being checked, evaluations pending, reports being made.",
        labels=("kind",),
    )
    oldest = GaugeMetricFamily(
        "stillhouse_oldest_checking_seconds", "Since the oldest of them came.", labels=("kind",)
    )
    for kind, (count, seconds) in facts.checking.items():
        checking.add_metric((kind,), count)
        oldest.add_metric((kind,), seconds)
    yield checking
    yield oldest
    for name, meaning in COUNTERS.items():
        count = facts.counts.get(name, 0)
        yield CounterMetricFamily(f"stillhouse_{name}", meaning, value=count)
    if facts.since_sweep_s is not None:
        yield GaugeMetricFamily(
            "stillhouse_last_sweep_seconds", "Since the last sweep.", value=facts.since_sweep_s
        )


def _of_workers(facts: Facts) -> Iterator[Metric]:
    alive = GaugeMetricFamily(
        "stillhouse_workers", "Worker processes seen lately.", labels=("queue",)
    )
    lag = GaugeMetricFamily(
        "stillhouse_heartbeat_lag_seconds",
        "Since the worker that is silent for longest was heard of; one that is gone for good is"
        " forgotten after an hour.",
        labels=("queue",),
    )
    for one in facts.workers:
        alive.add_metric((one.queue,), one.alive)
        lag.add_metric((one.queue,), one.lag_s)
    yield alive
    yield lag
