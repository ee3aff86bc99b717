"""Waiting, threads and tasks for the asynchronous client; `flow_sync` has the same names."""

from collections.abc import Awaitable, Callable, Iterable
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

P = ParamSpec("P")
Item = TypeVar("Item")
Result = TypeVar("Result")


async def sleep(seconds: float) -> None:
    await anyio.sleep(seconds)


async def run(work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Blocking work, in a thread."""
    return await anyio.to_thread.run_sync(lambda: work(*args, **kwargs))


async def each(
    work: Callable[[Item], Awaitable[None]], items: Iterable[Item], *, at_a_time: int
) -> None:
    """So many side by side. The first failure ends the others and is raised."""
    limiter = anyio.CapacityLimiter(at_a_time)
    failures: list[Exception] = []

    async def one(item: Item) -> None:
        async with limiter:
            try:
                await work(item)
            except Exception as error:
                failures.append(error)
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for item in items:
            group.start_soon(one, item)
    if failures:
        raise failures[0]
