"""The compact protocol, and what claims to be it."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.data.thrift import Cursor


def test_a_struct() -> None:
    # 1: i32 -2; 2: true; 4: "ab"; 5: [1, 2]; 6: {1: false}; 40: i64 300.
    content = bytes([0x15, 3, 0x11, 0x28, 2, *b"ab", 0x19, 0x25, 2, 4, 0x1C, 0x12, 0])
    content += bytes([0x06, 80, 0xD8, 0x04, 0])
    cursor = Cursor(content + b"more")
    assert cursor.struct() == {1: -2, 2: True, 4: b"ab", 5: [1, 2], 6: {1: False}, 40: 300}
    assert cursor.at == len(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x15",
        b"\x18\x7fa",
        b"\x19\xf5\xff\xff\xff\xff\x0f",
        b"\x15" + b"\xff" * 11,
        b"\x1c" * 100_000,
        b"\x19\x19" + b"\x19" * 100_000,
        b"\x1e",
    ],
    ids=["empty", "no value", "cut text", "huge list", "long number", "structs", "lists", "type"],
)
def test_damage_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Cursor(content).struct()


@given(content=st.binary(max_size=100))
def test_any_bytes(content: bytes) -> None:
    with suppress(ValueError):
        Cursor(content).struct()
