"""What the measurements ask of a service that trains."""

import time
from typing import Any

import httpx

NETWORK = {"family": "mlp", "inputs": 64, "hidden": [64], "classes": 10}


def post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.is_success, answer.text
    return dict(answer.json())


def settled(client: httpx.Client, path: str) -> dict[str, Any]:
    """The resource once it is no longer checking, queued or running."""
    while True:
        resource = client.get(path).json()
        if resource.get("is_terminal") or resource["state"] in ("ready", "rejected"):
            assert resource["state"] in ("ready", "succeeded"), resource
            return dict(resource)
        time.sleep(0.1)


def digits(client: httpx.Client) -> str:
    """The id of a dataset that is ready."""
    source = {"kind": "builtin", "name": "digits"}
    dataset: str = post(client, "/datasets", {"name": "digits", "source": source})["id"]
    settled(client, f"/datasets/{dataset}")
    return dataset


def supervised(dataset: str, hidden: int, epochs: int) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "student": {"network": {**NETWORK, "hidden": [hidden]}},
        "method": {"name": "supervised"},
        "training": {"epochs": epochs},
        "baseline": None,
    }
