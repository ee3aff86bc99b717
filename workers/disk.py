"""Telling a full disk from other troubles: it passes, and is nobody's fault."""

import errno
import os

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
STORAGE_FULL = "storage_full"
"""The code of a problem that goes away with space."""


def disk_full(error: BaseException | None) -> bool:
    """Whether that is what the exception, or one that led to it, comes from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        # Libraries in Rust and C++ keep the words and lose the number.
        if any(os.strerror(number) in str(error) for number in FULL):
            return True
        error = error.__cause__ or error.__context__
    return False
