"""Trainings side by side have numbers of their own, and by them GPUs."""

import pytest
import torch

from workers.engine.device import pick_device
from workers.processes import trainer_environment
from workers.slots import Slots


def test_each_training_has_the_smallest_number_that_is_free() -> None:
    slots = Slots()
    with slots.one() as first, slots.one() as second:
        assert (first, second) == (0, 1)
        with slots.one() as third:
            assert third == 2
        with pytest.raises(RuntimeError), slots.one():
            raise RuntimeError
        with slots.one() as again:
            assert again == 2
    with slots.one() as first:
        assert first == 0


def test_of_several_gpus_each_slot_gets_its_own(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(pick_device("cuda", slot)) for slot in range(4)] == [
        "cuda", "cuda:1", "cuda:0", "cuda:1"
    ]  # fmt: skip
    assert str(pick_device("cuda:1", slot=2)) == "cuda:1"  # as the owner says
    assert str(pick_device("cpu", slot=3)) == "cpu"
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert str(pick_device("auto", slot=1)) == ("cuda:1" if there else "cpu")


def test_what_tells_cuda_how_to_behave_reaches_a_trainer(tmp_path) -> None:
    told = {"PYTORCH_ALLOC_CONF": "expandable_segments:True", "CUDA_VISIBLE_DEVICES": "1"}
    environment = trainer_environment(tmp_path, {**told, "AWS_SECRET_ACCESS_KEY": "x"})
    assert told.items() <= environment.items()
    assert environment["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    other = {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}
    assert trainer_environment(tmp_path, other).items() >= other.items()
