"""What is kept for later jobs: by content, and for its owner alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from workers.engine.cache import ABANDONED_S, Cache

KEY = "0" * 64


def test_an_owner_finds_only_what_it_has_put_there(tmp_path: Path) -> None:
    first, second, nobody = (Cache(tmp_path, 1000, owner) for owner in ("prj_a", "prj_b", ""))
    first.put("logits", KEY, lambda path: path.write_bytes(b"first"))
    assert second.get("logits", KEY) is None
    assert nobody.get("logits", KEY) is None
    second.put("logits", KEY, lambda path: path.write_bytes(b"second"))
    for cache, content in ((first, b"first"), (second, b"second")):
        found = cache.get("logits", KEY)
        assert found is not None
        assert found.read_bytes() == content


def test_the_room_is_everybodys(tmp_path: Path) -> None:
    first, second = Cache(tmp_path, 100, "prj_a"), Cache(tmp_path, 100, "prj_b")
    first.put("logits", KEY, lambda path: path.write_bytes(b"x" * 80))
    second.put("logits", KEY, lambda path: path.write_bytes(b"x" * 80))
    assert first.get("logits", KEY) is None
    assert second.get("logits", KEY) is not None


def test_what_is_being_written_makes_room_for_nobody(tmp_path: Path) -> None:
    """Until it is so old that its writer must have been killed."""
    cache = Cache(tmp_path, 100)

    def write(path: Path) -> None:
        path.write_bytes(b"x" * 80)
        other = path.with_name(".part-other")
        other.write_bytes(b"x" * 80)
        cache.put("logits", "1" * 64, lambda path: path.write_bytes(b"x" * 80))
        assert other.exists()
        os.utime(other, (time.time() - 2 * ABANDONED_S,) * 2)

    cache.put("logits", KEY, write)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [KEY]


def test_of_many_at_once_one_makes_it(tmp_path: Path) -> None:
    making: list[int] = []
    start = threading.Barrier(6)
    waited: list[int] = []

    def want(number: int) -> bytes:
        cache = Cache(tmp_path, 1000)
        start.wait()
        with cache.turn("logits", KEY, lambda: waited.append(number)) as path:
            if path is None:
                making.append(number)
                time.sleep(0.3)
                path = cache.put("logits", KEY, lambda part: part.write_bytes(b"made"))
            return path.read_bytes()

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(want, range(6))) == [b"made"] * 6
    assert len(making) == 1
    assert set(waited) == set(range(6)) - set(making)
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_who_fails_hands_the_turn_on(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000)
    with pytest.raises(ZeroDivisionError), cache.turn("logits", KEY, _never):
        raise ZeroDivisionError
    with cache.turn("logits", KEY, _never) as path:
        assert path is None


def test_who_dies_hands_the_turn_on(tmp_path: Path) -> None:
    holder = _holder(tmp_path)
    holder.kill()
    holder.wait()
    with Cache(tmp_path, 1000).turn("logits", KEY, _never) as path:
        assert path is None


def test_who_is_stopped_is_waited_for_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.engine.cache.STALE_S", 1.0)
    holder = _holder(tmp_path)
    waits: list[float] = []
    holder.send_signal(signal.SIGSTOP)
    cache = Cache(tmp_path, 1000)
    with cache.turn("logits", KEY, lambda: waits.append(time.monotonic())) as path:
        assert path is None
        cache.put("logits", KEY, lambda part: part.write_bytes(b"mine"))
    assert waits[-1] - waits[0] < 5
    holder.kill()
    holder.wait()


def test_who_waits_may_give_up(tmp_path: Path) -> None:
    holder = _holder(tmp_path)

    def give_up() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Cache(tmp_path, 1000).turn("logits", KEY, give_up):
        raise AssertionError("not its turn")
    holder.kill()
    holder.wait()


def _holder(folder: Path) -> subprocess.Popen[bytes]:
    """A process that has the turn, and makes nothing."""
    script = (
        "import sys, time, pathlib, workers.engine.cache as cache\n"
        "cache.BEAT_S = 0.1\n"
        f"with cache.Cache(pathlib.Path(sys.argv[1]), 1000).turn('logits', '{KEY}', print):\n"
        "    print('mine', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"mine\n"
    return holder


def _never() -> None:
    raise AssertionError("nobody else is there")
