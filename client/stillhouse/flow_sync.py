"""Waiting and threads for the blocking client; `flow_async` has the same names."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
Item = TypeVar("Item")
Result = TypeVar("Result")


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def run(work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Blocking work, here and now."""
    return work(*args, **kwargs)


def each(work: Callable[[Item], None], items: Iterable[Item], *, at_a_time: int) -> None:
    """So many side by side. The first failure ends what has not begun, and is raised."""
    with ThreadPoolExecutor(at_a_time, thread_name_prefix="stillhouse") as pool:
        waiting = [pool.submit(work, item) for item in items]
        try:
            for one in waiting:
                one.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
