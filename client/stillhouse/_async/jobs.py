"""Jobs: what is distilled, how it goes, and what comes of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, Unpack
from urllib.parse import quote

from stillhouse import flow_async, models, wire
from stillhouse._async.bound import AsyncBound, pages
from stillhouse._async.downloads import download
from stillhouse._async.streams import follow
from stillhouse._async.transport import AsyncTransport
from stillhouse.curves import Metrics
from stillhouse.errors import JobFailed
from stillhouse.localfiles import Progress
from stillhouse.spec import CloneIn, JobSpec
from stillhouse.updates import DoneUpdate, Update

LOG_POLL_S = 1.0
Format = Literal["safetensors", "onnx", "pt2", "bundle"]


class AsyncJob(AsyncBound, models.JobOut):
    """A job as it was when it was last asked for."""

    async def wait(
        self,
        timeout: float | None = None,
        *,
        on_change: Callable[[Self], None] | None = None,
    ) -> Self:
        """Until it has ended well. Raises JobFailed (also for a cancelled one), or StillRunning
        after so many seconds; the job itself goes on then."""
        await self._until(lambda it: it.is_terminal, timeout, on_change)
        if self.state != "succeeded":
            raise JobFailed(self.id, self.state, self.error)
        return self

    async def stream(self, *, after: int | None = None) -> AsyncIterator[Update]:
        """Its curves, progress and states as they come, from the beginning (or after an update of
        that number) to the end. Breaks are mended; this object is up to date afterwards."""
        async for update in follow(self._transport, self, after=after):
            if isinstance(update, DoneUpdate):
                await self.refresh()
            yield update

    async def metrics(
        self,
        keys: Sequence[str] | None = None,
        *,
        x: Literal["step", "epoch", "time"] = "step",
        max_points: int = 1000,
        agg: Literal["minmax", "mean", "last"] = "minmax",
        after: str | None = None,
    ) -> Metrics:
        """Its curves, sampled to so many points each; with `after` (the `next` of an answer
        before) what is new."""
        params = {
            "keys": ",".join(keys) if keys else None,
            "x": x,
            "max_points": max_points,
            "agg": agg,
            "after": after,
        }
        response = await self._transport.send("GET", f"{self._address}/metrics", params=params)
        return wire.read(Metrics, response)

    async def export_metrics(
        self, to: str | os.PathLike[str], *, keys: Sequence[str] | None = None
    ) -> Path:
        """Every point of its curves, as Parquet or CSV by the file's suffix."""
        path = Path(to)
        params = {
            "keys": ",".join(keys) if keys else None,
            "format": "csv" if path.suffix == ".csv" else "parquet",
        }
        part = path.with_name(f".{path.name}.part")
        async with self._transport.open(f"{self._address}/metrics", params=params) as response:
            with part.open("wb") as file:
                async for chunk in response.aiter_bytes():
                    file.write(chunk)
        part.replace(path)
        return path

    async def report(self) -> dict[str, Any]:
        """Teacher, student and baseline on the same examples, and the verdict."""
        response = await self._transport.send("GET", f"{self._address}/report")
        return wire.members(response)

    async def artifacts(self) -> list[models.ArtifactOut]:
        """What it has made so far."""
        response = await self._transport.send("GET", f"{self._address}/artifacts")
        return wire.read(models.ArtifactsOut, response).data

    async def download(
        self,
        to: str | os.PathLike[str] = "",
        *,
        format: Format = "safetensors",  # noqa: A002  (its name in the address)
        overwrite: bool = True,
        progress: Progress | None = None,
    ) -> Path:
        """The student, as a file (by default named as it is there). A download that broke off
        goes on; its SHA-256 is checked."""
        name = "student.zip" if format == "bundle" else f"student.{format}"
        return await download(
            self._transport,
            f"{self._address}/student",
            Path(to or name),
            params={"format": format},
            overwrite=overwrite,
            progress=progress,
        )

    async def download_artifact(
        self,
        name: str,
        to: str | os.PathLike[str] = "",
        *,
        overwrite: bool = True,
        progress: Progress | None = None,
    ) -> Path:
        """Any of its artifacts, as `download` does."""
        return await download(
            self._transport,
            f"{self._address}/artifacts/{quote(name)}",
            Path(to or name.replace("/", "-")),
            overwrite=overwrite,
            progress=progress,
        )

    def events(self) -> AsyncIterator[models.EventOut]:
        """From which state to which, when and why, newest first."""
        return pages(self._transport, models.EventOut, f"{self._address}/events", {})

    async def logs(self, *, tail: int | None = None) -> str:
        """What its trainers have said, or only so many lines from the end."""
        response = await self._transport.send("GET", f"{self._address}/logs", params={"tail": tail})
        return response.text

    async def follow_logs(self) -> AsyncIterator[str]:
        """All that its trainers have said, and what they say until it ends, piece by piece."""
        here: str | None = f"{self._address}/logs"
        while here is not None:
            response = await self._transport.send("GET", here)
            if response.text:
                yield response.text
            here = response.links.get("next", {}).get("url")
            if here is not None:
                await flow_async.sleep(LOG_POLL_S)

    async def cancel(self) -> Self:
        return self._become(await self._transport.send("POST", f"{self._address}/cancel"))

    async def pause(self) -> Self:
        return self._become(await self._transport.send("POST", f"{self._address}/pause"))

    async def resume(self) -> Self:
        return self._become(await self._transport.send("POST", f"{self._address}/resume"))

    async def clone(
        self, *, idempotency_key: str | None = None, **changes: Unpack[CloneIn]
    ) -> Self:
        """Another job like this one: `overrides` is what differs, `from_checkpoint` where it
        starts."""
        path = f"{self._address}/clone"
        response = await self._transport.create(path, changes, idempotency_key=idempotency_key)
        return self._of(self._transport, response)


class AsyncJobs:
    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self, *, idempotency_key: str | None = None, **job: Unpack[JobSpec]
    ) -> AsyncJob:
        """Submits a job; what is left out has the service's default."""
        response = await self._transport.create("/jobs", job, idempotency_key=idempotency_key)
        return AsyncJob._of(self._transport, response)

    async def validate(self, **job: Unpack[JobSpec]) -> models.ValidationOut:
        """The checks of `create`, every default and an estimate; creates nothing."""
        params = {"validate_only": "true"}
        response = await self._transport.send("POST", "/jobs", params=params, json=job)
        return wire.read(models.ValidationOut, response)

    async def get(self, job_id: str) -> AsyncJob:
        response = await self._transport.get("jobs", job_id)
        return AsyncJob._of(self._transport, response)

    def list(
        self,
        *,
        state: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        page_size: int = 50,
    ) -> AsyncIterator[AsyncJob]:
        """Those in one of these states, with all of these labels, newest first."""
        params = {
            "state": list(state),
            "label": [f"{key}:{value}" for key, value in (labels or {}).items()],
            "created_after": created_after.isoformat() if created_after else None,
            "limit": page_size,
        }
        return pages(self._transport, AsyncJob, "/jobs", params)
