"""Labels, integers or text, to classes 0 .. C-1."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from app.spec.dataset import MAX_CLASSES
from app.spec.problems import Refused

Array = npt.NDArray[Any]

MAX_NAME = 200


@dataclass(frozen=True)
class Codes:
    """(N,): the labels themselves, or with `text` their places in the vocabulary of `Labels`."""

    values: Array
    text: bool

    def __len__(self) -> int:
        return len(self.values)


@dataclass
class Labels:
    """Reads labels block by block; what text means is decided when all of it is known.

    Text that spells whole numbers in every row stands for these numbers (a CSV knows only text).
    """

    _vocabulary: dict[str, int] = field(default_factory=dict)
    _integers: bool = False
    _lookup: Array = field(default_factory=lambda: np.empty(0, np.int64))

    def numbers(self, values: Array) -> Codes:
        """(N,) of integers, booleans or whole floats. Raises Refused 422."""
        if values.ndim != 1:
            raise Refused.invalid(
                "invalid_label", f"Labels are one per row, not of shape {values.shape[1:]}."
            )
        if values.dtype.kind == "f":
            if not (np.isfinite(values) & (values == np.floor(values))).all():
                raise Refused.invalid("invalid_label", "A label is not a whole number.")
        elif values.dtype.kind not in "biu":
            raise Refused.invalid("invalid_label", f"Labels of type {values.dtype} are not read.")
        if len(values):
            _check_range(values.min(), values.max())
        self._integers = True
        return Codes(values.astype(np.int64), text=False)

    def words(self, values: Sequence[Any], places: Array) -> Codes:
        """`values[places]` are the labels of the rows. Raises Refused 413 or 422."""
        codes = np.empty(len(values), np.int64)
        for place, word in enumerate(values):
            codes[place] = self._vocabulary.setdefault(_checked(word), len(self._vocabulary))
        if len(self._vocabulary) > MAX_CLASSES:
            raise Refused.too_large("too_many_classes", f"Over {MAX_CLASSES} different labels.")
        return Codes(codes[places], text=True)

    def decide(self, class_names: Sequence[str] | None) -> tuple[str, ...] | None:
        """The names of the classes, if there are any; call it once, after the last block.

        Raises Refused 422 `unknown_label` for text outside `class_names`, `mixed_labels` for
        numbers in one place and words in another.
        """
        words = list(self._vocabulary)
        if not words:
            return tuple(class_names) if class_names else None
        spelled = [_whole_number(word) for word in words]
        if all(number is not None for number in spelled):
            numbers = np.array(spelled, np.int64)
            _check_range(numbers.min(), numbers.max())
            self._lookup = numbers
            return tuple(class_names) if class_names else None
        if self._integers:
            raise Refused.invalid("mixed_labels", "Some labels are numbers and some are words.")
        names = tuple(class_names) if class_names else tuple(sorted(words))
        places = {name: place for place, name in enumerate(names)}
        for word in words:
            if word not in places:
                raise Refused.invalid("unknown_label", f"Label {word!r} is not in class_names.")
        self._lookup = np.array([places[word] for word in words], np.int64)
        return names

    def integers(self, blocks: Sequence[Codes]) -> Array:
        """(N,) int64: the classes of all blocks, one after another; after `decide`."""
        return np.concatenate([self._resolved(block) for block in blocks])

    def _resolved(self, block: Codes) -> Array:
        return np.asarray(self._lookup[block.values]) if block.text else block.values


def _checked(found: Any) -> str:
    if not isinstance(found, str):
        raise Refused.invalid("missing_label", "A row has no label.", 'Or set "label" to null.')
    word = found.strip()
    try:
        word.encode()
    except UnicodeEncodeError:
        word = ""
    if not word or len(word) > MAX_NAME or not word.isprintable():
        raise Refused.invalid(
            "invalid_label",
            f"A label is empty, longer than {MAX_NAME} characters, or not printable.",
        )
    return word


def _whole_number(word: str) -> int | None:
    """The number that a CSV writes as 7 or, where pandas met a gap, as 7.0."""
    digits = word.removesuffix(".0").removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        return None
    return int(word.removesuffix(".0"))


def _check_range(low: Any, high: Any) -> None:
    if low < 0 or high >= MAX_CLASSES:
        raise Refused.invalid(
            "label_out_of_range",
            f"Labels run from {int(low)} to {int(high)}; 0 to {MAX_CLASSES - 1} are read.",
        )
