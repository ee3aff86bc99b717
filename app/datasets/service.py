"""The rules of registering a dataset that need no reader."""

from collections.abc import Iterator

from sqlalchemy.orm import Session

from app.db import after_commit
from app.errors import unprocessable
from app.files import repository as files
from app.ids import new_id
from app.queue import Doorbell
from app.sources.policy import Policy
from app.spec.dataset import SPLITS, DatasetSpec, FileSource, UriSource
from app.spec.problems import Refused
from app.spec.sniff import SNIFF_BYTES, sniff_dataset
from app.storage import Storage
from app.tables import Dataset


def create(
    session: Session, wanted: DatasetSpec, *, storage: Storage, sources: Policy, bell: Doorbell
) -> Dataset:
    """Raises Unprocessable, or Refused for a format that no reader opens, or a uri that no worker
    may read."""
    if isinstance(wanted.source, UriSource):
        try:
            sources.check(wanted.source.uri, session.info.get("project_id"))
        except Refused as refused:
            raise refused.at("/source/uri") from None
    named = dict(_files(wanted))
    known = files.get_many(session, named.values())
    for pointer, file_id in named.items():
        if file_id not in known:
            raise unprocessable(pointer, "unknown_file", f"There is no file {file_id}.")
    for file in known.values():
        sniff_dataset(b"".join(storage.read(file.sha256, 0, min(SNIFF_BYTES, file.size))))
    dataset = Dataset(id=new_id("dst"), name=wanted.name, spec=wanted.model_dump(mode="json"))
    session.add(dataset)
    session.flush()
    after_commit(session, lambda: bell.inspect_dataset(dataset.id))
    return dataset


def _files(wanted: DatasetSpec) -> Iterator[tuple[str, str]]:
    """Where the body names files, and which."""
    source = wanted.source
    if not isinstance(source, FileSource):
        return
    if source.file is not None:
        yield "/source/file", source.file
    if source.files is not None:
        for split in SPLITS:
            for index, file_id in enumerate(getattr(source.files, split)):
                yield f"/source/files/{split}/{index}", file_id
