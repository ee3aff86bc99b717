"""The Celery producer: queues, task names, and the doorbell that wakes workers up.

A message carries an id and nothing else. Losing one loses no work: the queued row is the outbox,
and whoever sweeps rings again. So publishing may fail, and must never make a client wait.
"""

import queue
import threading
import time
from collections import deque
from typing import Literal

import structlog
from celery import Celery

from app import loglines, tracing
from app.settings import Settings

RUN_JOB = "workers.tasks.run_job"
INSPECT_TEACHER = "workers.tasks.inspect_teacher"
INSPECT_DATASET = "workers.tasks.inspect_dataset"
EVALUATE = "workers.tasks.evaluate"
EXPORT_STUDENT = "workers.tasks.export_student"
REPORT_KNOWLEDGE = "workers.tasks.report_knowledge"

Priority = Literal["low", "normal", "high"]

# Redis has no priorities worth the name: one queue each, and a worker listens to them in order.
TRAIN_QUEUES: dict[Priority, str] = {"high": "train.high", "normal": "train", "low": "train.low"}
LIGHT_QUEUE = "light"

Ring = tuple[str, str, str, dict[str, str]]
"""Task, subject, queue, headers."""

log = structlog.get_logger()


def configure(celery: Celery, settings: Settings) -> Celery:
    """The settings that producer and workers must agree on. Each has cost somebody work."""
    celery.conf.update(
        broker_url=settings.broker,
        # Never pickle: a message may come from whoever reaches the broker.
        task_serializer="json",
        accept_content=["json"],
        # Results live in rows.
        result_backend=None,
        task_ignore_result=True,
        # With acks_late a training longer than the visibility timeout is started twice.
        task_acks_late=False,
        # A prefetched job would wait behind a training while another worker idles.
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        # A lost broker must not stop a training: the row's lease decides, not the connection.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_transport_options={
            "visibility_timeout": 3600,  # the same on both sides; without ETA it means nothing
            "socket_timeout": 5,  # a hung broker otherwise blocks for ever
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "queue_order_strategy": "priority",  # in the order of -Q, not in turn
            "priority_steps": [0],
        },
        task_publish_retry=False,
        task_default_queue=LIGHT_QUEUE,
    )
    return celery


class Doorbell:
    """Publishes from a thread of its own, through a bounded buffer: ringing takes microseconds.

    When the broker is down or hangs, rings are logged and dropped. In a flood of jobs the rings for
    them are spread over time: a worker that woke up goes on with whatever is queued, so they would
    take the processor from the requests and wake nobody.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        capacity: int = 10_000,
        at_once: int = 64,
        jobs_per_s: float = 10.0,
    ) -> None:
        self._celery = configure(Celery("stillhouse", set_as_current=False), settings)
        self._capacity = capacity
        self._pace = Pace(at_once, jobs_per_s)
        self._rings: queue.Queue[Ring | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
        self._thread.start()

    def run_job(self, job_id: str, priority: Priority = "normal") -> None:
        self._ring(RUN_JOB, job_id, TRAIN_QUEUES[priority])

    def inspect_teacher(self, teacher_id: str) -> None:
        self._ring(INSPECT_TEACHER, teacher_id, LIGHT_QUEUE)

    def inspect_dataset(self, dataset_id: str) -> None:
        self._ring(INSPECT_DATASET, dataset_id, LIGHT_QUEUE)

    def evaluate(self, evaluation_id: str) -> None:
        self._ring(EVALUATE, evaluation_id, LIGHT_QUEUE)

    def export_student(self, job_id: str) -> None:
        self._ring(EXPORT_STUDENT, job_id, LIGHT_QUEUE)

    def report_knowledge(self, report_id: str) -> None:
        self._ring(REPORT_KNOWLEDGE, report_id, LIGHT_QUEUE)

    def close(self, timeout: float = 2.0) -> None:
        """Publishes what is waiting, for at most `timeout` seconds."""
        try:
            self._rings.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _ring(self, task: str, subject: str, on_queue: str) -> None:
        try:
            self._rings.put_nowait((task, subject, on_queue, self._headers()))
        except queue.Full:
            log.warning("doorbell_full", task=task, id=subject)

    def _headers(self) -> dict[str, str]:
        """Of which request this is: taken here, since another thread publishes."""
        parent = tracing.traceparent()
        return loglines.context() | ({"traceparent": parent} if parent else {})

    def _run(self) -> None:
        held: deque[Ring] = deque()
        while True:
            try:
                ring = self._rings.get(timeout=self._pace.wait_s() if held else None)
            except queue.Empty:
                pass
            else:
                if ring is None:
                    break
                if ring[0] != RUN_JOB:  # one message, one inspection
                    self._publish(ring)
                elif len(held) < self._capacity:
                    held.append(ring)
                else:
                    log.warning("doorbell_full", task=ring[0], id=ring[1])
            while held and self._pace.take():
                self._publish(held.popleft())
        for ring in held:
            self._publish(ring)
        self._celery.close()

    def _publish(self, ring: Ring) -> None:
        task, subject, on_queue, headers = ring
        try:
            self._celery.send_task(
                task, args=[subject], queue=on_queue, headers=headers, ignore_result=True
            )
        except Exception as error:  # whatever the transport raises; the sweeper rings again
            log.warning("doorbell_dropped", task=task, id=subject, error=str(error))


class Pace:
    """`burst` at once, and then `per_s` a second."""

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._left, self._at = burst, time.monotonic()

    def wait_s(self) -> float:
        """Until the next may go."""
        self._refill()
        return max(1 - self._left, 0) / self._per_s

    def take(self) -> bool:
        """Whether one may go now; then it counts."""
        self._refill()
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def _refill(self) -> None:
        now = time.monotonic()
        self._left = min(self._left + (now - self._at) * self._per_s, self._burst)
        self._at = now
