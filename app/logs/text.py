"""A log as text for people: whole characters and lines, and nothing that steers a terminal."""

import codecs

from app.logs.pieces import Excerpt

_STEERING = dict.fromkeys([*range(32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}") | {
    ord(kept): kept for kept in "\t\n\r"
}


def readable(excerpt: Excerpt, after: int, *, ended: bool) -> tuple[str, int]:
    """The text and where it ends. What was asked for and is gone is told in a first line.

    Half a character at the end is left for the next time, unless the log has `ended`.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    content = excerpt.content
    told = ""
    if excerpt.start > after:
        _, _, content = content.partition(b"\n")
        gone = excerpt.end - len(content) - after
        told = f"[{gone:,} bytes before this are not kept]\n"
    text = decoder.decode(content, final=ended)
    return told + text.translate(_STEERING), excerpt.end - len(decoder.getstate()[0])


def last_lines(text: str, count: int) -> str:
    """The last `count` lines; what follows the last newline is one, if there is something."""
    return "".join(text.splitlines(keepends=True)[-count:])
