"""Checks uploaded checkpoints and data sets, evaluates networks and describes teachers, in trainer
processes."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.settings import Settings
from app.sources.policy import Policy
from app.spec.jobfile import ReportFile
from app.spec.problems import Refused
from app.storage import Storage
from app.tables import Dataset, Evaluation, KnowledgeReport, Teacher
from workers.blobcache import BlobCache
from workers.disk import disk_full
from workers.errands import Errands
from workers.examiner import Examiner, Rejected
from workers.fetch import Fetcher, Interrupted, Unreachable, as_problem
from workers.standby import Standby
from workers.verdicts import Bytes, Case, DatasetCase, ReportCase, Verdicts

log = logging.getLogger(__name__)


class Inspector:
    """Answers the bell for teachers, datasets, evaluations and reports."""

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
        self._settings = settings
        self._shutdown = shutdown
        self._examiner = Examiner(
            standby, settings, shutdown, settings.inspection_limit_s if limit_s is None else limit_s
        )
        self._home = settings.home.absolute()
        self._blobs = BlobCache(storage, settings.home, settings.blob_cache_bytes)
        self._fetcher = fetcher or Fetcher(
            Policy.of(settings), settings.max_file_bytes, settings.uri_timeout_s
        )
        self._errands = Errands(self._home / "runs")

    def teacher(self, teacher_id: str) -> None:
        with self._errands.once(teacher_id) as folder:
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
        with self._errands.once(dataset_id) as folder:
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

    def evaluation(self, evaluation_id: str) -> None:
        with self._errands.once(evaluation_id) as folder:
            case = folder and self._verdicts.evaluation(evaluation_id)
            if not folder or not case:
                return
            weights = self._blobs.hold(case.weights, folder / "weights.safetensors")
            data = self._blobs.hold(case.data, folder / "data.safetensors")
            order = {
                "order": "evaluate",
                "subject": {
                    "network": case.network,
                    "file": str(weights),
                    "sha256": case.weights,
                    "preprocess": case.preprocess,
                },
                "dataset": {"file": str(data), "facts": case.facts},
                "split": case.split,
                "class_names": case.class_names,
            }
            self._settle(
                Evaluation,
                evaluation_id,
                order,
                lambda result: self._verdicts.evaluated(evaluation_id, result),
            )

    def report(self, report_id: str) -> None:
        with self._errands.once(report_id) as folder:
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
            self._settle(KnowledgeReport, report_id, order, ready)

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
        table: Case,
        resource_id: str,
        order: dict[str, Any],
        ready: Callable[[dict[str, Any]], None],
    ) -> None:
        try:
            facts = self._examiner.ask(order)
        except Rejected as rejected:
            log.info("%s: rejected: %s", resource_id, rejected)
            self._verdicts.reject(table, resource_id, rejected.problem)
        else:
            if facts is not None:
                ready(facts)
                log.info("%s: done", resource_id)

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
