"""What is kept for later jobs: by content, and for its owner alone."""

from pathlib import Path

from workers.engine.cache import Cache

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
