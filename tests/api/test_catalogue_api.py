import httpx
import jsonschema
import pytest

from app.spec.methods import METHODS
from app.spec.networks import FAMILIES


def test_methods(api: httpx.Client) -> None:
    listed = {entry["name"]: entry for entry in api.get("/methods").json()["data"]}
    assert listed.keys() == METHODS.keys()
    kd = listed["kd"]
    assert kd["paper"] == "arXiv:1503.02531"
    assert kd["teachers"] == {"min": 1, "max": None}
    assert kd["defaults"]["alpha"] == 0.9
    assert kd["schema"]["properties"]["alpha"]["description"].startswith("Weight of the SOFT term")


def test_networks(api: httpx.Client) -> None:
    listed = {entry["family"]: entry for entry in api.get("/networks").json()["data"]}
    assert listed.keys() == FAMILIES.keys()
    assert listed["mlp"]["tensors"]["layers.0.weight"] == [1200, 784]
    assert listed["mlp"]["taps"] == {"activations.0": [1200], "activations.1": [1200]}


@pytest.mark.parametrize("path", ["/methods", "/networks"])
def test_defaults_pass_their_own_schema(api: httpx.Client, path: str) -> None:
    for entry in api.get(path).json()["data"]:
        jsonschema.validate(entry["defaults"], entry["schema"])
        assert entry["description"]
