"""A job's log in pieces, and the lines in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.logs import pieces
from app.logs.pieces import KEPT, PIECE
from app.logs.text import last_lines, readable
from tests.workers.rows import add_job
from workers.ledger import Fenced, Ledger
from workers.narrator import Narrator, line
from workers.transcript import Transcript


@pytest.fixture
def ledger(database):
    return Ledger(database, lease_s=60, max_attempts=3)


def write(ledger: Ledger, claim, transcript: Transcript) -> None:
    if said := transcript.unwritten():
        ledger.log(claim, said)
        transcript.written(said)


def read(database, job_id: str, after: int = 0) -> pieces.Excerpt:
    with database.reading() as session:
        return pieces.read(session, job_id, after)


def test_pieces_grow_until_they_are_full(ledger, database):
    job_id = add_job(database)
    claim = ledger.claim(job_id, "w")
    transcript = Transcript(claim.log_end)
    said = b"".join(b"line %d\n" % i for i in range(6000))
    for start in range(0, len(said), 7001):
        transcript.add(said[start : start + 7001])
        if start % 2 == 0:
            write(ledger, claim, transcript)
    write(ledger, claim, transcript)
    assert transcript.unwritten() == ()
    assert read(database, job_id) == pieces.Excerpt(0, said)
    for after in (0, 1, PIECE - 1, PIECE, PIECE + 1, len(said) - 1, len(said), len(said) + 5):
        assert read(database, job_id, after).content == said[after:]


def test_the_next_attempt_goes_on_where_the_last_one_ended(ledger, database):
    job_id = add_job(database)
    first = ledger.claim(job_id, "w")
    transcript = Transcript(first.log_end)
    transcript.add(b"one\n")
    write(ledger, first, transcript)
    ledger.release(first, reason="died", fruitless=False)
    second = ledger.claim(job_id, "w")
    assert second.log_end == 4
    later = Transcript(second.log_end)
    later.add(b"two\n")
    write(ledger, second, later)
    transcript.add(b"stale\n")
    with pytest.raises(Fenced):
        write(ledger, first, transcript)
    assert read(database, job_id).content == b"one\ntwo\n"


def test_the_oldest_goes(ledger, database):
    job_id = add_job(database)
    claim = ledger.claim(job_id, "w")
    transcript = Transcript(0)
    line_ = b"x" * 99 + b"\n"
    for _ in range(25):
        transcript.add(line_ * 500)
        write(ledger, claim, transcript)
    whole = 25 * 500 * 100
    excerpt = read(database, job_id)
    assert excerpt.end == whole
    assert KEPT <= len(excerpt.content) <= KEPT + 2 * PIECE
    text, end = readable(excerpt, 0, ended=False)
    notice, _, rest = text.partition("\n")
    assert end == whole
    assert notice == f"[{whole - len(rest):,} bytes before this are not kept]"
    assert set(rest.splitlines()) == {"x" * 99}, "whole lines"


@given(st.text(max_size=40), st.integers(0, 60))
def test_a_reader_that_follows_gets_every_character_once(text: str, cut: int) -> None:
    content = text.encode()
    first, place = readable(pieces.Excerpt(0, content[:cut]), 0, ended=False)
    rest, end = readable(pieces.Excerpt(place, content[place:]), place, ended=True)
    whole, _ = readable(pieces.Excerpt(0, content), 0, ended=True)
    assert first + rest == whole
    assert end == len(content)


def test_nothing_steers_the_readers_terminal() -> None:
    hostile = b"\x1b]0;owned\x07 \x1b[2J\x00 \x9b\xff caf\xc3\xa9\tb\r\n"
    text, _ = readable(pieces.Excerpt(0, hostile), 0, ended=True)
    assert text.endswith("café\tb\r\n")
    assert not any(ord(char) < 32 and char not in "\t\r\n" for char in text)


def test_last_lines() -> None:
    assert last_lines("a\nb\nc", 2) == "b\nc"
    assert last_lines("a\nb\nc\n", 2) == "b\nc\n"
    assert last_lines("a\n", 5) == "a\n"
    assert last_lines("", 5) == ""


def said(narrator: Narrator, event: str, **fields) -> str | None:
    told = narrator.tell(event, fields)
    return None if told is None else told.partition(" ")[2]


def test_what_is_told_of_events():
    narrator = Narrator()
    assert said(narrator, "progress", step=1) is None
    assert said(narrator, "phase", phase="teaching") == "event=phase phase=teaching"
    assert said(narrator, "phase", phase="teaching (5 of 60 examples)") is None
    assert said(narrator, "phase", phase="training") == "event=phase phase=training"
    points = [
        ["train/loss", 9, 0.9, 1.0, 0.5],
        ["validation/loss", 10, 1.0, 1.0, 0.25],
        ["validation/accuracy", 10, 1.0, 1.0, None],
    ]
    assert said(narrator, "metrics", points=points[:1]) is None
    assert said(narrator, "metrics", points=points) == (
        "event=validation epoch=1.0 step=10 validation/loss=0.25 validation/accuracy="
    )
    assert said(narrator, "checkpoint", name="c", file="/somewhere/c", best=True) == (
        "event=checkpoint name=c best=true"
    )


def test_a_line_is_one_line():
    assert "\n" not in line("failed", detail='two\nlines and a "quote"')
