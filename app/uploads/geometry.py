"""How an upload is cut: parts of one size, but for the last."""

from app.settings import MIB

MAX_PARTS = 1000


def part_size(size: int, usual: int) -> int:
    """`usual`, or in whole MiB what keeps the parts within MAX_PARTS."""
    if size <= usual * MAX_PARTS:
        return usual
    return -(-size // (MAX_PARTS * MIB)) * MIB


def numbers(size: int, part: int) -> range:
    """From 1; an empty file has none."""
    return range(1, -(-size // part) + 1)


def length(size: int, part: int, number: int) -> int:
    """Of one part. Raises ValueError where there is no such part."""
    if number not in numbers(size, part):
        raise ValueError(number)
    return min(part, size - (number - 1) * part)
