"""How an attempt gathers its job's log until it is written."""

from typing import Any

from app.logs.pieces import PIECE, Piece
from workers.narrator import line


class Transcript:
    """The end of one job's log, as one attempt adds to it.

    The last piece is written again as it grows, until it is full.
    """

    def __init__(self, start: int) -> None:
        self._start = start
        self._open = b""
        self._unwritten: dict[int, bytes] = {}

    def say(self, event: str, **fields: Any) -> None:
        self.add(line(event, **fields).encode() + b"\n")

    def add(self, said: bytes) -> None:
        while said:
            room = PIECE - len(self._open)
            self._open += said[:room]
            said = said[room:]
            self._unwritten[self._start] = self._open
            if len(self._open) == PIECE:
                self._start += PIECE
                self._open = b""

    def unwritten(self) -> tuple[Piece, ...]:
        return tuple(self._unwritten.items())

    def written(self, pieces: tuple[Piece, ...]) -> None:
        """These are in the rows now; what was said meanwhile is not."""
        for start, content in pieces:
            if self._unwritten.get(start) == content:
                del self._unwritten[start]
