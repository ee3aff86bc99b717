"""A full disk is known for what it is, whichever library met it."""

from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from app.spec.problems import Refused
from workers.disk import disk_full


def with_python(file: IO[bytes]) -> None:
    file.write(b"x" * 100_000)


def with_numpy(file: IO[bytes]) -> None:
    np.save(file, np.ones(100_000))


def with_arrow(file: IO[bytes]) -> None:
    pq.write_table(pa.table({"a": list(range(100_000))}), file)


def wrapped(file: IO[bytes]) -> None:
    try:
        with_python(file)
    except OSError as error:
        raise RuntimeError("could not save") from error


@pytest.mark.parametrize("write", [with_python, with_numpy, with_arrow, wrapped])
def test_a_full_disk(write):
    # Opened here: a library that is given the path may replace or remove the device itself.
    with (
        open("/dev/full", "wb", buffering=0) as file,  # noqa: PTH123
        pytest.raises((OSError, RuntimeError)) as caught,
    ):
        write(file)
    assert disk_full(caught.value)


def test_the_words_of_safetensors(tmp_path):
    with pytest.raises(Exception, match="os error") as caught:
        save_file({"a": torch.ones(8)}, tmp_path / "missing" / "x")
    assert not disk_full(caught.value)
    assert disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))


def test_other_troubles():
    assert not disk_full(OSError("the disk has other troubles"))
    assert not disk_full(Refused.invalid("code", "detail"))
