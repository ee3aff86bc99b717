"""Grids: their points, the jobs that these make, and where they lead nowhere."""

import pytest
from pydantic import ValidationError

from app.spec.sweep import NoSuchPlace, SweepSpec, overlapping
from app.states import TERMINAL, State, sweep_state


def sweep(grid: object, job: object = None) -> SweepSpec:
    return SweepSpec.model_validate({"job": job or {}, "grid": grid})


def test_the_last_field_moves_fastest() -> None:
    spec = sweep({"a": [1, 2], "b.c": ["x", None]})
    assert spec.size == 4
    assert [tuple(point.values()) for point in spec.points()] == [
        (1, "x"),
        (1, None),
        (2, "x"),
        (2, None),
    ]


def test_a_body_is_the_job_with_the_values_set() -> None:
    job = {"method": {"alpha": 0.9}, "training": {"augment": [{"name": "flip"}, {"name": "shift"}]}}
    spec = sweep({"method.temperature": [4], "training.augment.1.pixels": [3], "a.b": [{}]}, job)
    (point,) = spec.points()
    assert spec.body(point) == {
        "method": {"alpha": 0.9, "temperature": 4},
        "training": {"augment": [{"name": "flip"}, {"name": "shift", "pixels": 3}]},
        "a": {"b": {}},
    }
    assert job["method"] == {"alpha": 0.9}


@pytest.mark.parametrize(
    ("path", "job"),
    [
        ("baseline.seeds", {"baseline": None}),
        ("name.first", {"name": "x"}),
        ("list.0", {"list": []}),
        ("list.1", {"list": [1]}),
        ("list.x", {"list": [1]}),
        ("list.0.x", {"list": [1]}),
    ],
)
def test_paths_that_lead_nowhere(path: str, job: object) -> None:
    spec = sweep({path: [1]}, job)
    with pytest.raises(NoSuchPlace) as wrong:
        spec.body(next(spec.points()))
    assert wrong.value.path == path


@pytest.mark.parametrize(
    "grid",
    [{}, {"a": []}, {"A": [1]}, {"a..b": [1]}, {".a": [1]}, {"a.": [1]}, {"": [1]}, {"a": 1}],
)
def test_grids_that_are_none(grid: object) -> None:
    with pytest.raises(ValidationError):
        sweep(grid)


def test_one_path_inside_another() -> None:
    assert overlapping(["b", "a.c", "a"]) == ("a", "a.c")
    assert overlapping(["a.b", "a.bc", "ab"]) is None


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (["queued"], "queued"),
        (["queued", "running"], "running"),
        (["queued", "succeeded"], "running"),
        (["paused"], "paused"),
        (["paused", "failed"], "running"),
        (["succeeded"], "succeeded"),
        (["succeeded", "failed"], "failed"),
        (["succeeded", "failed", "cancelled"], "cancelled"),
        ([], "cancelled"),
    ],
)
def test_where_a_sweep_stands(states: list[str], state: str) -> None:
    assert sweep_state(states) == state
    assert (sweep_state(states) in TERMINAL) == all(State(one) in TERMINAL for one in states)
