"""The errors of object stores, in the words of `app.storage`."""

from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, NotFoundError

from app.storage.blobs import StorageAway


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raises FileNotFoundError and StorageAway in the place of obstore's own errors."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise FileNotFoundError(what) from error
    except BaseError as error:
        # The rest of the message is a dump of the client's state.
        raise StorageAway(f"the object store: {str(error).splitlines()[0]}") from error
