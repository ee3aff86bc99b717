"""Objects read by uri from a server of the S3 protocol."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import from_url

from app.sources.policy import Entry, Policy
from app.spec.problems import Refused
from workers import fetch
from workers.fetch import Fetcher, Unreachable
from workers.fetch_store import CHUNK

CONTENT = bytes(range(256)) * (CHUNK // 256) + b"and a little more"


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedMotoServer]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def endpoint(server: ThreadedMotoServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of a worker whose owner has an object store."""
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(fetch, "PAUSES_S", ())
    import httpx

    httpx.put(f"http://{host}:{port}/bucket").raise_for_status()
    return f"http://{host}:{port}"


def get(uri: str, path: Path, **options: int) -> str:
    policy = Policy((Entry.read("s3://bucket/sets/"), Entry.read("s3://absent/")))
    found = Fetcher(policy, options.pop("max_bytes", 10**8))
    return found.fetch(uri, path, stopping=threading.Event())


def test_an_object_is_read_in_chunks(endpoint: str, tmp_path: Path) -> None:
    obstore.put(from_url("s3://bucket"), "sets/a b.npz", CONTENT)
    found = get("s3://bucket/sets/a%20b.npz", tmp_path / "a")
    assert found == hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_what_is_not_there_or_too_large_is_refused(endpoint: str, tmp_path: Path) -> None:
    obstore.put(from_url("s3://bucket"), "sets/large", bytes(1000))
    for uri, code in (
        ("s3://bucket/sets/none", "source_refused"),
        ("s3://absent/none", "source_refused"),
        ("s3://bucket/sets/large", "source_too_large"),
        ("s3://bucket/other", "uri_not_allowed"),
    ):
        with pytest.raises(Refused) as caught:
            get(uri, tmp_path / "a", max_bytes=999)
        assert caught.value.code == code


def test_a_store_that_fails_may_be_tried_again(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unreachable):
        get("s3://bucket/sets/a", tmp_path / "a")
