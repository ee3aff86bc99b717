import pickle
from typing import Any

import httpx
import pytest

from app.settings import Settings
from app.tables import DEFAULT_PROJECT
from tests.api.helpers import Rows, assert_problem, serve, upload

DIGITS = {"name": "digits", "source": {"kind": "builtin", "name": "digits"}}


def test_a_dataset_is_checked_later(api: httpx.Client) -> None:
    made = api.post("/datasets", json=DIGITS)
    assert made.status_code == 202
    dataset = made.json()
    assert made.headers["location"] == f"/datasets/{dataset['id']}"
    assert dataset["state"] == "checking"
    assert dataset["spec"]["split_seed"] == 0
    assert dataset["rows"] is None
    assert api.get(made.headers["location"]).json() == dataset
    assert api.get("/datasets").json()["data"] == [dataset]


def test_what_the_check_found(api: httpx.Client, rows: Rows) -> None:
    dataset = api.get(f"/datasets/{rows.dataset()}").json()
    assert dataset["state"] == "ready"
    assert dataset["classes"] == 10
    assert dataset["feature_shape"] == [28, 28]
    assert dataset["rows"]["test"] == 1000
    assert dataset["class_balance"]["train"] == [500] * 10


def test_files_by_split(api: httpx.Client) -> None:
    ids = [upload(api, f"a,label\n{i},0\n".encode()) for i in range(3)]
    source = {"kind": "file", "files": {"train": ids[:2], "test": ids[2:]}}
    assert api.post("/datasets", json={"name": "d", "source": source}).status_code == 202
    source["files"]["train"][1] = "file_0"
    answer = api.post("/datasets", json={"name": "d", "source": source})
    assert_problem(answer, 422, "unknown_file", "/source/files/train/1")


@pytest.mark.parametrize(
    ("source", "pointer"),
    [
        ({"kind": "uri", "uri": "file:///etc/passwd"}, "/source/uri"),
        ({"kind": "uri", "uri": "gopher://x"}, "/source/uri"),
        ({"kind": "uri", "uri": "https://example.org/x.npz"}, "/source/uri"),
        ({"kind": "uri", "uri": "http://169.254.169.254/"}, "/source/uri"),
        ({"kind": "uri"}, "/source/uri"),
        ({"kind": "uri", "uri": "https://example.org/x", "sha256": "0"}, "/source/sha256"),
        ({"kind": "file"}, "/source"),
        ({"kind": "file", "file": "file_0"}, "/source/file"),
        ({"kind": "file", "file": "../../etc/passwd"}, "/source/file"),
        ({"kind": "builtin", "name": "mnist"}, "/source/name"),
    ],
)
def test_sources_that_are_none(
    api: httpx.Client, snapshot: Any, source: dict[str, Any], pointer: str
) -> None:
    before = snapshot()
    answer = api.post("/datasets", json={"name": "d", "source": source})
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert snapshot() == before


@pytest.mark.parametrize("content", [pickle.dumps([1, 2]), b"\x93NUMPY\x01\x00", b"a\x00b"])
def test_formats_that_no_reader_opens(api: httpx.Client, content: bytes) -> None:
    source = {"kind": "file", "file": upload(api, content)}
    answer = api.post("/datasets", json={"name": "d", "source": source})
    assert answer.status_code == 415
    assert answer.json()["code"] in ("pickle_not_accepted", "unsupported_dataset")


def test_an_empty_file(api: httpx.Client) -> None:
    source = {"kind": "file", "file": upload(api, b"")}
    answer = api.post("/datasets", json={"name": "d", "source": source})
    assert_problem(answer, 422, "empty_file")


def test_unknown_datasets(api: httpx.Client) -> None:
    assert_problem(api.get("/datasets/dst_0"), 404, "dataset_not_found")


def test_a_uri_from_an_allowed_place(settings: Settings) -> None:
    places = ("https://data.example.org/sets/", "s3://bucket/projects/{project}/")
    with (
        serve(settings.model_copy(update={"uri_allow": places})) as address,
        httpx.Client(base_url=address) as api,
    ):

        def post(uri: str) -> httpx.Response:
            return api.post("/datasets", json={"name": "d", "source": {"kind": "uri", "uri": uri}})

        made = post("https://data.example.org/sets/a.npz?signature=x")
        assert made.status_code == 202
        assert (made.json()["state"], made.json()["source_sha256"]) == ("checking", None)
        mine = api.get(f"/datasets/{made.json()['id']}").json()["spec"]["source"]
        assert mine["uri"] == "https://data.example.org/sets/a.npz?signature=x"
        assert_problem(post("https://data.example.org/x"), 422, "uri_not_allowed", "/source/uri")
        assert_problem(post("s3://bucket/projects/prj_other/x"), 404, "source_not_found")
        assert post(f"s3://bucket/projects/{DEFAULT_PROJECT}/x").status_code == 202
