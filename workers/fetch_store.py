"""Objects of a store, read with the credentials that this worker's own environment has.

The uri gives bucket and key and nothing else: endpoint, region and keys are the owner's.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from app.outside.uri import Uri
from app.settings import MIB
from app.spec.problems import Refused

if TYPE_CHECKING:
    from obstore import GetOptions  # in the stubs alone

CHUNK = 8 * MIB
RETRY_S = 30
"""How long one chunk is asked for again; each request may take the library's 30 s."""


def read(uri: Uri, check_size: Callable[[int], None]) -> Iterator[bytes]:
    """The object in chunks, of one version.

    Raises Refused 422 `source_refused`, what `check_size` raises, and OSError when the store fails.
    """
    try:
        store = from_url(
            f"{uri.scheme}://{uri.host}",
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=RETRY_S)},
        )
        meta = obstore.head(store, uri.key)
        check_size(meta["size"])
        for start in range(0, meta["size"], CHUNK):
            options: GetOptions = {"range": (start, min(start + CHUNK, meta["size"]))}
            if meta["e_tag"]:
                options["if_match"] = meta["e_tag"]
            yield bytes(obstore.get(store, uri.key, options=options).bytes())
    except (NotFoundError, FileNotFoundError) as error:
        raise Refused.invalid("source_refused", f"There is no {uri}.") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise Refused.invalid(
            "source_refused", f"The store lets nobody here read {uri}."
        ) from error
    except BaseError as error:
        raise OSError(f"the object store failed on {uri}") from error
