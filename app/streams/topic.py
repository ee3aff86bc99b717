"""A job that somebody follows: where it stands, and what was said of it lately."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from app.streams.frames import Frame
from app.streams.repository import Standing

KEPT: Final = 64
"""Frames; who is further behind than these is told from the database."""
KEPT_BYTES: Final = 512 * 1024


class Topic:
    """One per job and process, while there are followers."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.upto = standing.seq
        """The last number that was told."""
        self.done: bytes | None = None
        """The last event of all, once everything before it was told."""
        self.gone = False
        """The job was deleted."""
        self.followers = 0
        self.changed = asyncio.Event()
        """Of the next change: each has an event of its own."""
        self.end = 0
        """Frames so far."""
        self._frames: deque[Frame] = deque()
        self._bytes = 0

    def tell(self, frame: Frame) -> None:
        """To all who come for it."""
        self._frames.append(frame)
        self._bytes += len(frame.body)
        self.end += 1
        self.upto = frame.upto
        while len(self._frames) > KEPT or (self._bytes > KEPT_BYTES and len(self._frames) > 1):
            self._bytes -= len(self._frames.popleft().body)

    def since(self, place: int) -> Sequence[Frame] | None:
        """The frames from that one on; None when some of them are kept no more."""
        behind = self.end - place
        if behind > len(self._frames):
            return None
        return [self._frames[-back] for back in range(behind, 0, -1)]

    def wake(self) -> None:
        """All who wait for a change."""
        self.changed.set()
        self.changed = asyncio.Event()
