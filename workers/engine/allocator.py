"""Memory that one training step lets go is kept for the next, which asks for the same again.

glibc hands blocks of some hundred KiB and more back to the system, and gets them again page by
page, filled with zeros: 430 page faults a step of the MNIST pair, 6 % of its time.
"""

import ctypes

# From malloc.h; a size is an int there.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
NEVER = 2**31 - 1
LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024
"""What glibc itself would go up to; larger blocks are worth their page faults."""
GROWTH = 64 * 1024 * 1024


def keep_memory() -> bool:
    """False where the C library is another one, which is left as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = {
        M_MMAP_THRESHOLD: LARGEST_MMAP_THRESHOLD,
        M_TRIM_THRESHOLD: NEVER,
        M_TOP_PAD: GROWTH,
    }
    return all(mallopt(name, size) for name, size in wanted.items())
