"""One attempt at a job: a trainer is watched, and all it tells is written to the rows."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillBusy
from contextvars import copy_context
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import tracing
from app.blobs import BytesGone
from app.errors import problem_document
from app.settings import Settings
from app.states import State
from app.storage import Storage
from workers import shelf
from workers.claims import Claim
from workers.disk import STORAGE_FULL
from workers.ledger import Fenced, Ledger
from workers.limits import over_memory
from workers.memory import MemoryWatch
from workers.obituary import Obituary
from workers.processes import Trainer
from workers.room import passes
from workers.runs import Run, made_facts
from workers.standby import Standby
from workers.ticker import Watchdog
from workers.transcript import Transcript

FLUSH_S = 0.8
"""Between two writes of a running job: what the row tells is at most a second old."""
REFILL_S = 2.0
"""A new standby warms up once the job has made its first step, or after so long."""
MAX_WAITING = 100_000
"""Points kept while the database is away; the trainer then waits."""

AWAY = (OperationalError, InterfaceError, InternalError, PoolTimeout)
"""What a database that is away raises, or one that is locked, or that ended a transaction which was
idle for too long: tried again."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class Attempt:
    """One attempt at one job, in the thread that calls `run`.

    Afterwards `blameless` says whether it ended by what passes: a full disk, an absent storage.
    """

    def __init__(
        self,
        claim: Claim,
        *,
        ledger: Ledger,
        storage: Storage,
        standby: Standby,
        settings: Settings,
        shutdown: threading.Event,
        slot: int = 0,
    ) -> None:
        self._claim = claim
        self._ledger = ledger
        self._storage = storage
        self._standby = standby
        self._settings = settings
        self._shutdown = shutdown
        self._run = Run(settings, storage, claim, slot)
        self._log = Transcript(claim.log_end)
        self._trainer: Trainer | None = None
        self._obituary = Obituary()
        self._files = ThreadPoolExecutor(1, thread_name_prefix="files")
        self._began = time.monotonic()
        self._kill_at = float("inf")
        self._overtime = False
        self._phases = tracing.Phases()
        self._memory = MemoryWatch(settings.process_memory)
        self.blameless = False
        self._refilled = False
        self._state = State.RUNNING  # as the last write found it
        # What is not written yet.
        self._progress = claim.progress
        self._phase = "starting"
        self._points: list[Any] = []
        self._reached = 0  # the furthest step of any point
        self._flush_at = self._began + FLUSH_S
        # How the trainer says that it ended: a `done`, `failed` or `stopped` event.
        self._verdict: dict[str, Any] | None = None

    def run(self) -> State | None:
        """Trains, and returns what became of the job; None when this attempt lost its hold."""
        claim = self._claim
        with tracing.span(
            "queue",
            kind="consumer",
            parent=claim.traceparent,
            since=claim.queued_at,
            job=claim.job_id,
        ):
            waited = tracing.traceparent()
        with (
            structlog.contextvars.bound_contextvars(**self._context),
            tracing.span("attempt", parent=waited, **self._context) as span,
        ):
            state = self._carry_out()
            log.info("%s: attempt %d ended: %s", claim.job_id, claim.attempt, state)
            if span:
                span.set_attribute("state", str(state or "fenced"))
            return state

    @property
    def _context(self) -> dict[str, Any]:
        """What stands on each line that is logged of this attempt, and at its head in the job's own
        log."""
        claim = self._claim
        context = {"job": claim.job_id, "attempt": claim.attempt}
        return context | ({"request_id": claim.request_id} if claim.request_id else {})

    def _carry_out(self) -> State | None:
        try:
            trainer = self._trainer = self._standby.take()
            self._log.say("attempt begins", **self._context)
            self._watchdog = Watchdog(0.75 * self._ledger.lease_s, bark=trainer.kill)
            try:
                trouble = self._train(trainer)
            finally:
                self._watchdog.stop()
                code = trainer.close()
            reason = trouble or self._obituary.of(code, trainer.last_words)
            self._persist(lambda: self._write_log(reason))
            return self._persist(lambda: self._conclude(reason))
        except Fenced:
            log.warning("%s: attempt %d lost its hold", self._claim.job_id, self._claim.attempt)
            return None
        finally:
            self._files.shutdown(wait=False, cancel_futures=True)
            self._run.clean()
            self._standby.fill()

    def _train(self, trainer: Trainer) -> str | None:
        """Until the trainer ends; what went wrong on this side, if anything did. Raises Fenced."""
        try:
            self._while_beating(self._run.prepare)
            trainer.order(
                order="train",
                job_file=str(self._run.job_file),
                out=str(self._run.out),
                # Memory is watched from here: what CUDA maps counts as if it were used.
                bounds={"file_bytes": self._settings.process_file_bytes},
            )
            try:
                self._listen(trainer)
            finally:
                self._phases.close()
            self._persist(self._flush)
        except Fenced:
            raise
        except Exception as error:
            # A full disk, a storage error, a trainer that talks nonsense: this attempt is over.
            log.exception("%s: attempt %d failed", self._claim.job_id, self._claim.attempt)
            self._verdict = None
            self.blameless = passes(error)
            return f"{type(error).__name__}: {error}"
        return None

    def _listen(self, trainer: Trainer) -> None:
        while self._verdict is None and not trainer.ended and not self._watchdog.barked:
            now = time.monotonic()
            wait = max(min(self._flush_at, self._kill_at) - now, 0)
            full = len(self._points) >= MAX_WAITING
            for event in [] if full else trainer.events(min(wait, FLUSH_S)):
                self._take(event)
            if full:
                time.sleep(FLUSH_S / 4)
            if time.monotonic() >= self._flush_at:
                self._try_flush()
            self._attend(trainer)
            if time.monotonic() >= self._kill_at:
                trainer.kill()

    def _take(self, event: dict[str, Any]) -> None:
        """Notes what needs no hurry, writes what does."""
        match event.pop("event"):
            case "progress":
                if self._progress.get("step", 0) == 0 and event["step"] > 0:
                    self._flush_at = 0.0  # the first step is news
                    self._refill()
                self._progress = event
            case "phase":
                self._phase = event["phase"]
                self._phases.enter(self._phase.partition(" ")[0])
                self._flush_at = 0.0
            case "metrics":
                self._points += event["points"]
                self._reached = max([self._reached, *(point[1] for point in event["points"])])
            case "resolved" if self._claim.resolved is None:
                self._persist(lambda: self._ledger.resolve(self._claim, event))
            case "checkpoint" | "deliverable" | "artifact" as kind:
                self._publish(kind, event)
            case "done" | "failed" | "stopped" as how:
                self._verdict = {"how": how, **event}

    def _attend(self, trainer: Trainer) -> None:
        """Asks the trainer to end when there is a reason to."""
        if time.monotonic() - self._began > REFILL_S:
            self._refill()
        if self._memory.look(trainer.pid):
            trainer.kill()
        limit = self._claim.spec.get("max_runtime_s")
        held_s = self._claim.seconds_held + time.monotonic() - self._began
        self._overtime = self._overtime or (limit is not None and held_s > limit)
        wanted = self._state in (State.CANCELLING, State.PAUSING)
        if self._kill_at == float("inf") and (wanted or self._overtime or self._shutdown.is_set()):
            trainer.terminate()
            self._kill_at = time.monotonic() + self._settings.cancel_grace_s

    def _refill(self) -> None:
        if not self._refilled:
            self._refilled = True
            self._standby.fill()

    def _flush(self) -> None:
        """One batch: lease, progress and points. Raises Fenced, and what the database raises."""
        began = time.monotonic()
        points = tuple(self._points)
        if self._trainer is not None:
            self._log.add(self._trainer.take_output())
        said = self._log.unwritten()
        self._state = self._ledger.write(
            self._claim, progress=self._progress, phase=self._phase, points=points, log=said
        )
        del self._points[: len(points)]
        self._log.written(said)
        self._watchdog.feed()
        self._flush_at = began + min(FLUSH_S, self._ledger.lease_s / 6)

    def _write_log(self, reason: str) -> None:
        """The trainer's last words, and ours. Raises Fenced."""
        if self._trainer is not None:
            self._log.add(self._trainer.take_output())
            how = (self._verdict or {}).get("how", reason.splitlines()[0])
            self._log.say("attempt ended", attempt=self._claim.attempt, how=how)
            self._trainer = None
        if said := self._log.unwritten():
            self._ledger.log(self._claim, said)
            self._log.written(said)

    def _try_flush(self) -> None:
        """As `_flush`, but a database that is away is tried again, until the watchdog barks."""
        try:
            self._flush()
        except AWAY as error:
            log.warning("%s: the database is away: %s", self._claim.job_id, error)
            self._flush_at = time.monotonic() + FLUSH_S

    def _persist(self, write: Callable[[], T]) -> T:
        """A write that must happen before anything else does."""
        while True:
            try:
                return write()
            except AWAY as error:
                if self._watchdog.barked:
                    raise Fenced from error
                log.warning("%s: the database is away: %s", self._claim.job_id, error)
                time.sleep(FLUSH_S)

    def _while_beating(self, action: Callable[[], T]) -> T:
        """Does what may take long (moving files), keeping the lease meanwhile."""
        # With the context: what is logged there says of which job it is.
        future = self._files.submit(copy_context().run, action)
        while True:
            try:
                return future.result(timeout=max(self._flush_at - time.monotonic(), 0.01))
            except StillBusy:
                if future.done():  # the action's own timeout, not ours
                    raise
                if self._watchdog.barked:
                    raise Fenced from None
                self._try_flush()

    def _publish(self, kind: str, event: dict[str, Any]) -> None:
        """Storage first, then the row: a row never names bytes that are not there."""
        path = self._run.output(event["file"])
        sha256, size = self._while_beating(lambda: self._storage.put_file(path))
        if sha256 != event["sha256"]:
            raise OSError(f"{path.name} changed after the trainer wrote it")
        made = shelf.Made(
            name=event["name"],
            kind=event.get("kind", kind),
            format=event.get("format", "safetensors"),
            sha256=sha256,
            size=size,
            facts=made_facts({"step": self._reached, **event}),
        )
        # The points before a checkpoint count with it.
        self._persist(self._flush)
        try:
            self._persist(
                lambda: self._ledger.publish(self._claim, made, stored=self._storage.exists)
            )
        except BytesGone:
            self._publish(kind, event)
            return
        if kind == shelf.CHECKPOINT:
            # Storage has it; a link of our own would keep it on disk when it is no longer kept.
            path.unlink(missing_ok=True)

    def _conclude(self, obituary: str) -> State:
        verdict = self._verdict or {}
        match verdict.get("how"):
            case "failed" if verdict["problem"].get("code") == STORAGE_FULL:
                self.blameless = True
                obituary = verdict["problem"]["detail"]
            case "done":
                return self._ledger.finish(self._claim, State.SUCCEEDED, reason="finished")
            case "failed":
                problem = verdict["problem"]
                return self._ledger.finish(
                    self._claim, State.FAILED, reason=problem["detail"], error=problem
                )
        if self._memory.over and verdict.get("how") is None:
            problem = over_memory().as_problem()
            return self._ledger.finish(
                self._claim, State.FAILED, reason=problem["detail"], error=problem
            )
        if self._overtime:
            return self._ledger.finish(
                self._claim, State.FAILED, reason="max_runtime_s is over", error=self._too_long()
            )
        if self._shutdown.is_set():
            return self._ledger.release(
                self._claim, reason="its worker was shut down", fruitless=False
            )
        if verdict.get("how") == "stopped":
            return self._ledger.release(self._claim, reason="stopped on request", fruitless=False)
        return self._ledger.release(self._claim, reason=obituary, fruitless=not self.blameless)

    def _too_long(self) -> dict[str, Any]:
        return problem_document(
            422,
            "max_runtime_exceeded",
            f"The job ran for longer than its max_runtime_s of {self._claim.spec['max_runtime_s']}."
            " Its last checkpoint is kept.",
        )
