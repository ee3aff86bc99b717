"""Trainings side by side are spread over the GPUs that there are."""

import pytest

from workers.accelerators import Accelerators, visible
from workers.processes import trainer_environment


def test_gpus_are_counted_without_torch(tmp_path) -> None:
    assert visible({}, tmp_path) == 0
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible({}, tmp_path) == 2
    assert visible({"CUDA_VISIBLE_DEVICES": "3"}, tmp_path) == 1
    assert visible({"CUDA_VISIBLE_DEVICES": "MIG-a, MIG-b,GPU-c"}, tmp_path) == 3
    assert visible({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == 0


def test_each_training_gets_the_least_busy_one() -> None:
    gpus = Accelerators("auto", 3)
    with gpus.one() as first, gpus.one() as second:
        assert (first, second) == ("cuda:0", "cuda:1")
        with gpus.one() as third, gpus.one() as fourth:
            assert (third, fourth) == ("cuda:2", "cuda:0")
    with pytest.raises(RuntimeError), gpus.one():
        raise RuntimeError
    with gpus.one() as again:
        assert again == "cuda:0"


@pytest.mark.parametrize(
    ("device", "count"), [("auto", 0), ("auto", 1), ("cuda", 1), ("cpu", 4), ("cuda:1", 4)]
)
def test_where_there_is_no_choice_the_setting_stands(device: str, count: int) -> None:
    with Accelerators(device, count).one() as chosen:
        assert chosen == device


def test_what_tells_cuda_how_to_behave_reaches_a_trainer(tmp_path) -> None:
    told = {"PYTORCH_ALLOC_CONF": "expandable_segments:True", "CUDA_VISIBLE_DEVICES": "1"}
    environment = trainer_environment(tmp_path, {**told, "AWS_SECRET_ACCESS_KEY": "x"})
    assert told.items() <= environment.items()
    assert environment["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    other = {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}
    assert trainer_environment(tmp_path, other).items() >= other.items()
