"""Checks uploaded checkpoints and data sets in a trainer process, which they may well kill, and
describes teachers in one."""

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.errors import problem_document
from app.settings import Settings
from app.sources.policy import Policy
from app.spec.jobfile import ReportFile
from app.spec.problems import Refused
from app.storage import Storage
from app.tables import Dataset, KnowledgeReport, Teacher
from workers.blobcache import BlobCache
from workers.disk import STORAGE_FULL, disk_full
from workers.fetch import Fetcher, Interrupted, Unreachable, as_problem
from workers.limits import over_memory
from workers.memory import LOOK_S, MemoryWatch
from workers.obituary import Obituary, oom_kills
from workers.processes import ProtocolError
from workers.standby import Standby
from workers.verdicts import Bytes, Checked, DatasetCase, ReportCase, Verdicts

log = logging.getLogger(__name__)


class Rejected(Exception):
    """The inspection found a problem, or died of one."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["detail"])
        self.problem = problem


class Inspector:
    """Answers the bell for teachers, datasets and reports."""

    def __init__(
        self,
        *,
        verdicts: Verdicts,
        storage: Storage,
        standby: Standby,
        settings: Settings,
        shutdown: threading.Event,
        limit_s: float | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._verdicts = verdicts
        self._storage = storage
        self._standby = standby
        self._settings = settings
        self._shutdown = shutdown
        self._limit_s = settings.inspection_limit_s if limit_s is None else limit_s
        self._home = settings.home.absolute()
        self._blobs = BlobCache(storage, settings.home, settings.blob_cache_bytes)
        self._fetcher = fetcher or Fetcher(
            Policy.of(settings), settings.max_file_bytes, settings.uri_timeout_s
        )
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def teacher(self, teacher_id: str) -> None:
        with self._once(teacher_id) as folder:
            case = folder and self._verdicts.teacher(teacher_id)
            if not folder or not case:
                return
            order = {
                "order": "inspect_teacher",
                "file": str(self._fetch(case.weights, folder)),
                "filename": case.weights.filename,
                "network": case.network,
            }
            self._settle(
                Teacher,
                teacher_id,
                order,
                lambda facts: self._verdicts.teacher_ready(teacher_id, facts),
            )

    def dataset(self, dataset_id: str) -> None:
        with self._once(dataset_id) as folder:
            case = folder and self._verdicts.dataset(dataset_id)
            if not folder or not case:
                return
            prepared = folder / "prepared"
            files = {
                split: [str(self._fetch(file, folder)) for file in files]
                for split, files in case.files.items()
            }
            fetched = None
            if case.uri is not None:
                files = {"all": [str(folder / "fetched")]}
                fetched = self._fetch_uri(dataset_id, case, folder / "fetched")
                if fetched is None:
                    return
            order = {
                "order": "inspect_dataset",
                "files": files,
                "spec": case.spec,
                "out": str(prepared),
                "max_bytes": self._settings.max_dataset_bytes,
            }

            def ready(facts: dict[str, Any]) -> None:
                sha256, size = self._storage.put_file(prepared)
                facts["source_sha256"] = fetched
                self._verdicts.dataset_ready(
                    dataset_id, facts, sha256, size, stored=self._storage.exists
                )

            self._settle(Dataset, dataset_id, order, ready)

    def report(self, report_id: str) -> None:
        with self._once(report_id) as folder:
            case = folder and self._verdicts.report(report_id)
            if not folder or not case:
                return
            out = folder / "report.json"

            def ready(_facts: dict[str, Any]) -> None:
                sha256, size = self._storage.put_file(out)
                stored = self._storage.exists
                self._verdicts.report_ready(report_id, sha256, size, stored=stored)

            of = self._report_file(case, folder).model_dump(mode="json")
            order = {"order": "report", "of": of, "out": str(out)}
            # Its bytes have been inspected. What CUDA maps would count as if it were used, so
            # memory is watched from here alone.
            bounds = {"file_bytes": self._file_bytes()}
            self._settle(KnowledgeReport, report_id, order, ready, bounds)

    def _report_file(self, case: ReportCase, folder: Path) -> ReportFile:
        dataset, teacher, settings = case.dataset, case.teacher, self._settings
        prepared = self._blobs.hold(dataset.sha256 or "", folder / "dataset")
        described = None
        if teacher is not None:
            described = {
                "network": teacher.network,
                "file": self._blobs.hold(teacher.sha256 or "", folder / "teacher"),
                "sha256": teacher.sha256,
                "preprocess": teacher.preprocess,
            }
        return ReportFile.model_validate(
            {
                "dataset": {"file": prepared, "facts": dataset.facts},
                "teacher": described,
                "device": settings.device,
                "threads": settings.threads,
            }
        )

    def _settle(
        self,
        table: Checked,
        resource_id: str,
        order: dict[str, Any],
        ready: Callable[[dict[str, Any]], None],
        bounds: dict[str, int] | None = None,
    ) -> None:
        """`bounds` are the trainer's own, beside which its memory is watched from here."""
        memory_bytes = self._settings.process_memory
        bounds = bounds or {"memory_bytes": memory_bytes, "file_bytes": self._file_bytes()}
        try:
            facts = self._ask({**order, "bounds": bounds})
        except Rejected as rejected:
            log.info("%s: rejected: %s", resource_id, rejected)
            self._verdicts.reject(table, resource_id, rejected.problem)
        else:
            if facts is not None:
                ready(facts)
                log.info("%s: ready", resource_id)

    def _ask(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """What the trainer found; None when this worker is told to stop, or has no room on its
        disk. Raises Rejected."""
        memory = MemoryWatch(self._settings.process_memory)
        trainer = self._standby.take()
        obituary, oom_before = Obituary(), oom_kills()
        deadline = time.monotonic() + self._limit_s
        try:
            trainer.order(**order)
            while not trainer.ended and not self._shutdown.is_set():
                for event in trainer.events(LOOK_S):
                    match event["event"]:
                        case "inspected":
                            return dict(event["facts"])
                        case "failed" if event["problem"].get("code") == STORAGE_FULL:
                            log.warning("no room for an inspection; the sweeper asks for it again")
                            return None
                        case "failed":
                            raise Rejected(event["problem"])
                if memory.look(trainer.pid):
                    raise Rejected(over_memory().as_problem())
                if time.monotonic() > deadline:
                    raise Rejected(
                        problem_document(
                            422, "inspection_timeout", f"Not checked within {self._limit_s:.0f} s."
                        )
                    )
        except ProtocolError as error:
            log.warning("an inspection talks nonsense: %s", error)
        finally:
            code = trainer.close()
            self._standby.fill()
        if self._shutdown.is_set():
            return None
        log.warning("an inspection died; its last words: %s", trainer.last_words)
        raise Rejected(
            problem_document(
                413 if oom_kills() > oom_before else 422,
                "inspection_died",
                f"Checking the content ended early: {obituary.of(code)}.",
            )
        )

    def _fetch_uri(self, dataset_id: str, case: DatasetCase, path: Path) -> str | None:
        """Writes what the uri gives to `path`; its SHA-256, or None when there is nothing more to
        do, or not now."""
        try:
            return self._fetcher.fetch(
                case.uri or "",
                path,
                project=case.project,
                sha256=case.sha256,
                stopping=self._shutdown,
            )
        except (Refused, Unreachable) as error:
            problem = error.as_problem() if isinstance(error, Refused) else as_problem(error)
            log.info("%s: rejected: %s", dataset_id, error)
            self._verdicts.reject(Dataset, dataset_id, problem)
        except Interrupted:
            pass
        except OSError as error:
            if not disk_full(error):
                raise
            log.warning("no room for what a uri gives; the sweeper asks for it again")
        return None

    def _fetch(self, file: Bytes, folder: Path) -> Path:
        """The file under a name that keeps its suffix, by which readers know formats."""
        name = f"{len(os.listdir(folder))}{file.suffix}"  # noqa: PTH208
        return self._blobs.hold(file.sha256, folder / name)

    def _file_bytes(self) -> int:
        """What a prepared data set may grow to: its pixels may become floats."""
        return 4 * self._settings.max_dataset_bytes + 2**30

    @contextmanager
    def _once(self, resource_id: str) -> Iterator[Path | None]:
        """A folder for the time being; None when another thread is at the same resource."""
        with self._lock:
            busy = resource_id in self._busy
            self._busy.add(resource_id)
        if busy:
            yield None
            return
        runs = self._home / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=runs, prefix=f"{resource_id}-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with self._lock:
                self._busy.discard(resource_id)
