"""Makes students into other formats, in a trainer process."""

import logging
import threading
from pathlib import Path

from app.blobs import BytesGone
from app.settings import Settings
from app.storage import Storage
from workers.blobcache import BlobCache
from workers.errands import Errands
from workers.examiner import Examiner, Rejected
from workers.exports import ABOUT, WEIGHTS, ExportCase, Exports
from workers.shelf import Made
from workers.standby import Standby

log = logging.getLogger(__name__)


class Exporter:
    """Answers the bell for exports."""

    def __init__(
        self,
        *,
        exports: Exports,
        storage: Storage,
        standby: Standby,
        settings: Settings,
        shutdown: threading.Event,
    ) -> None:
        self._exports = exports
        self._storage = storage
        self._examiner = Examiner(standby, settings, shutdown, settings.inspection_limit_s)
        # Not named like a run: the janitor takes those for attempts.
        self._errands = Errands(settings.home.absolute() / "runs", prefix="export-")
        self._blobs = BlobCache(storage, settings.home, settings.blob_cache_bytes)

    def export(self, job_id: str) -> None:
        """Every format that is wanted of a job's student."""
        with self._errands.once(job_id) as folder:
            # Again, since a bell that rings meanwhile finds this job busy.
            while folder and (case := self._exports.case(job_id)):
                self._blobs.hold(case.weights, folder / WEIGHTS)
                self._blobs.hold(case.about, folder / ABOUT)
                if not all(self._make(case, one, folder) for one in case.formats):
                    return  # the sweeper asks again

    def _make(self, case: ExportCase, format_: str, folder: Path) -> bool:
        """False when this worker is told to stop, or has no room on its disk."""
        out = folder / f"student.{format_}"
        order = {
            "order": "export_student",
            "file": str(folder / WEIGHTS),
            "about": str(folder / ABOUT),
            "network": case.network,
            "format": format_,
            "out": str(out),
        }
        try:
            if self._examiner.ask(order) is None:
                return False
        except Rejected as rejected:
            log.warning("%s: no %s: %s", case.job_id, format_, rejected)
            self._exports.failed(case, format_, rejected.problem)
            return True
        while True:
            sha256, size = self._storage.put_file(out)
            made = Made(out.name, "student", format_, sha256, size)
            try:
                self._exports.made(case, made, stored=self._storage.exists)
            except BytesGone:
                continue
            log.info("%s: made %s", case.job_id, out.name)
            return True
