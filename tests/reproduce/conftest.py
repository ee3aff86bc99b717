"""Conductors of the small book."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.reproduce.conduct import Conductor
from benchmarks.reproduce.runs import Book
from tests.reproduce.book import BOOK


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def conductor(tmp_path: Path) -> Callable[..., Conductor]:
    """A conductor; with `asks`, a sitting that is over when it was asked so many times."""

    def make(name: str = "home", asks: int | None = None, book: Book = BOOK) -> Conductor:
        left = iter(range(asks)) if asks is not None else None
        over = (lambda: next(left, None) is None) if left is not None else (lambda: False)
        return Conductor(book, tmp_path / name, over, lambda _line: None, "cpu", threads=1)

    return make
