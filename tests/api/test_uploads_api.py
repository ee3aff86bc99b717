"""Files that come in parts: any order, again, side by side, with the server killed in between."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app import blobs
from app.db import Database, now_plus
from app.migrate import upgrade
from app.settings import MIB, Settings
from app.storage import DirectoryStorage, Storage
from app.tables import Blob, Upload, UploadPart
from app.uploads import assembly, geometry
from app.uploads.service import Progress
from tests.api.callers import add_key, add_project, client, guarded
from tests.api.helpers import assert_problem, serve, upload
from workers.blobcache import BlobCache
from workers.janitor import Janitor

PART = MIB // 4
CONTENT = os.urandom(3 * PART + 5)


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    with serve(settings.model_copy(update={"upload_part_bytes": PART})) as address:
        yield address


def announced(content: bytes, **changes: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"filename": "w.bin", "size": len(content), "sha256": sha256, **changes}


def begin(api: httpx.Client, content: bytes = CONTENT) -> dict[str, Any]:
    answer = api.post("/uploads", json=announced(content))
    assert answer.status_code == 201, answer.text
    return answer.json()


def piece(content: bytes, number: int) -> bytes:
    return content[(number - 1) * PART : number * PART]


def send(api: httpx.Client, begun: dict[str, Any], *numbers: int, content: bytes = CONTENT) -> None:
    for number in numbers:
        answer = api.put(begun["parts"][number - 1]["url"], content=piece(content, number))
        assert answer.status_code == 200, answer.text


def stored(database: Database) -> set[int]:
    with database.reading() as session:
        return set(session.scalars(sa.select(Blob.size)))


def test_parts_in_any_order_become_the_file(api: httpx.Client, database: Database) -> None:
    begun = api.post("/uploads", json=announced(CONTENT))
    assert begun.status_code == 201
    upl = begun.json()
    here = f"/uploads/{upl['id']}"
    assert begun.headers["location"] == here
    assert upl["part_size"] == PART
    assert [(p["number"], p["size"]) for p in upl["parts"]] == [
        *((n, PART) for n in (1, 2, 3)),
        (4, 5),
    ]
    send(api, upl, 4, 2, 1, 2)
    assert api.get(here).json()["arrived"] == [
        {
            "number": n,
            "size": len(piece(CONTENT, n)),
            "sha256": announced(piece(CONTENT, n))["sha256"],
        }
        for n in (1, 2, 4)
    ]
    send(api, upl, 3)
    made = api.post(f"{here}/complete")
    assert made.status_code == 201
    file = made.json()
    assert made.headers["location"] == f"/files/{file['id']}"
    assert {**announced(CONTENT), "id": file["id"]}.items() <= file.items()
    assert api.get(f"/files/{file['id']}/content").content == CONTENT

    again = api.post(f"{here}/complete")
    assert (again.status_code, again.json()) == (200, file)
    after = api.get(here).json()
    assert (after["state"], after["file"], after["parts"]) == ("complete", file["id"], [])
    assert_problem(api.put(f"{here}/parts/1", content=piece(CONTENT, 1)), 409, "upload_complete")
    with database.reading() as session:
        assert session.scalars(sa.select(UploadPart)).all() == []


def test_what_is_missing_is_named(api: httpx.Client) -> None:
    upl = begin(api)
    send(api, upl, 1, 3)
    problem = assert_problem(api.post(f"/uploads/{upl['id']}/complete"), 409, "upload_incomplete")
    assert [error["pointer"] for error in problem["errors"]] == ["/parts/2", "/parts/4"]
    assert "2, 4" in problem["detail"]


def test_a_wrong_part_can_be_sent_again(api: httpx.Client, database: Database) -> None:
    upl = begin(api)
    send(api, upl, 1, 2, 3, 4)
    wrong = os.urandom(PART)
    api.put(upl["parts"][1]["url"], content=wrong)
    complete = f"/uploads/{upl['id']}/complete"
    problem = assert_problem(api.post(complete), 422, "checksum_mismatch")
    told = {error["pointer"]: error["detail"] for error in problem["errors"]}
    assert told["/parts/2"] == hashlib.sha256(wrong).hexdigest()
    assert told["/parts/3"] == hashlib.sha256(piece(CONTENT, 3)).hexdigest()
    assert len(CONTENT) not in stored(database)
    send(api, upl, 2)
    assert api.post(complete).status_code == 201


@pytest.mark.parametrize("chunked", [False, True])
def test_a_part_of_another_size_is_refused(api: httpx.Client, chunked: bool) -> None:
    upl = begin(api)
    url = upl["parts"][0]["url"]
    send(api, upl, 1)

    def body(size: int) -> Any:
        content = b"x" * size
        return iter([content[: size // 2], content[size // 2 :]]) if chunked else content

    assert_problem(api.put(url, content=body(PART - 1)), 422, "part_too_small")
    assert_problem(api.put(url, content=body(PART + 1)), 413, "part_too_large")
    assert_problem(api.put(url, content=b""), 422, "part_too_small")
    (first,) = api.get(f"/uploads/{upl['id']}").json()["arrived"]
    assert first["sha256"] == hashlib.sha256(piece(CONTENT, 1)).hexdigest(), "the good one stays"


def test_a_part_tells_its_digest(api: httpx.Client) -> None:
    upl = begin(api)
    url = upl["parts"][0]["url"]
    digest = b64encode(hashlib.sha256(piece(CONTENT, 1)).digest()).decode()
    headers = {"Content-Digest": f"sha-256=:{digest}:"}
    answer = api.put(url, content=b"x" * PART, headers=headers)
    assert_problem(answer, 422, "checksum_mismatch")
    assert api.put(url, content=piece(CONTENT, 1), headers=headers).status_code == 200


def test_parts_that_are_none(api: httpx.Client) -> None:
    upl = begin(api)
    here = f"/uploads/{upl['id']}/parts"
    assert_problem(api.put(f"{here}/5", content=b"x"), 404, "no_such_part")
    for number in ("0", "-1", "1001", "x"):
        assert_problem(api.put(f"{here}/{number}", content=b"x"), 404, "not_found")
    assert_problem(api.put("/uploads/upl_0/parts/1", content=b"x"), 404, "upload_not_found")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"size": -1}, "/size"),
        ({"size": 1.5}, "/size"),
        ({"sha256": "ABC"}, "/sha256"),
        ({"filename": "../x"}, "/filename"),
        ({"filename": ""}, "/filename"),
        ({"more": 1}, "/more"),
    ],
)
def test_nonsense_is_refused(api: httpx.Client, change: dict[str, Any], pointer: str) -> None:
    answer = api.post("/uploads", json={**announced(CONTENT), **change})
    assert_problem(answer, 422, "validation_failed", pointer)
    assert api.get("/uploads").json()["data"] == []


def test_too_large_a_file(api: httpx.Client, settings: Settings) -> None:
    body = announced(b"", size=settings.max_file_bytes + 1)
    assert_problem(api.post("/uploads", json=body), 413, "file_too_large")


def test_an_empty_file_has_no_parts(api: httpx.Client) -> None:
    upl = begin(api, b"")
    assert upl["parts"] == []
    file = api.post(f"/uploads/{upl['id']}/complete").json()
    assert api.get(f"/files/{file['id']}/content").content == b""


def test_known_bytes_need_not_be_sent(api: httpx.Client) -> None:
    first = upload(api, CONTENT)
    upl = begin(api)
    assert upl["parts"] == []
    file = api.post(f"/uploads/{upl['id']}/complete").json()
    assert file["id"] != first
    assert api.get(f"/files/{file['id']}/content").content == CONTENT


def test_of_two_that_complete_at_once_both_hear_of_one_file(api: httpx.Client) -> None:
    upl = begin(api)
    send(api, upl, 1, 2, 3, 4)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: api.post(f"/uploads/{upl['id']}/complete"), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_of_two_that_complete_the_slower_finds_no_parts_and_the_file(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    upl = begin(api)
    send(api, upl, 1, 2, 3, 4)
    assemble, faster = assembly._assemble, []

    def late(so_far: Progress, storage: Storage) -> None:
        if not faster:
            faster.append(None)  # whoever comes now is not held up
            faster[0] = api.post(f"/uploads/{upl['id']}/complete")
            so_far = replace(so_far, parts={})
        assemble(so_far, storage)

    monkeypatch.setattr(assembly, "_assemble", late)
    slower = api.post(f"/uploads/{upl['id']}/complete")
    assert (faster[0].status_code, slower.status_code) == (201, 200)
    assert faster[0].json() == slower.json()


def test_parts_side_by_side(api: httpx.Client) -> None:
    upl = begin(api)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: send(api, upl, number), (1, 2, 3, 4, 1, 2)))
    assert api.post(f"/uploads/{upl['id']}/complete").status_code == 201


def test_idempotency(api: httpx.Client) -> None:
    header = {"Idempotency-Key": "k"}
    body = announced(CONTENT)
    first, again = (api.post("/uploads", json=body, headers=header) for _ in range(2))
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = api.post("/uploads", json={**body, "filename": "other"}, headers=header)
    assert_problem(other, 422, "idempotency_key_reused")
    upl = first.json()
    send(api, upl, 1, 2, 3, 4)
    complete = f"/uploads/{upl['id']}/complete"
    made, replay = (api.post(complete, headers=header) for _ in range(2))
    assert (made.status_code, replay.status_code) == (201, 201)
    assert replay.json() == made.json()
    assert api.delete(f"/uploads/{upl['id']}").status_code == 204
    assert api.post(complete, headers=header).json() == made.json()
    assert_problem(api.post(complete), 404, "upload_not_found")


def test_giving_up_and_what_stays(api: httpx.Client) -> None:
    upl = begin(api)
    send(api, upl, 1)
    assert [one["id"] for one in api.get("/uploads").json()["data"]] == [upl["id"]]
    assert api.delete(f"/uploads/{upl['id']}").status_code == 204
    for answer in (
        api.get(f"/uploads/{upl['id']}"),
        api.delete(f"/uploads/{upl['id']}"),
        api.put(f"/uploads/{upl['id']}/parts/1", content=piece(CONTENT, 1)),
    ):
        assert_problem(answer, 404, "upload_not_found")
    upl = begin(api)
    send(api, upl, 1, 2, 3, 4)
    file = api.post(f"/uploads/{upl['id']}/complete").json()["id"]
    assert api.delete(f"/files/{file}").status_code == 204
    assert_problem(api.get(f"/uploads/{upl['id']}"), 404, "upload_not_found")


def test_what_is_abandoned_expires_and_its_parts_go(
    api: httpx.Client, database: Database, storage: DirectoryStorage, settings: Settings
) -> None:
    old, young = begin(api), begin(api, os.urandom(2 * PART))
    send(api, old, 1, 4)
    with database.transaction() as session:
        session.execute(
            sa.update(Upload).where(Upload.id == old["id"]).values(expires_at=now_plus(-1))
        )
    assert_problem(api.get(f"/uploads/{old['id']}"), 404, "upload_not_found")
    complete = api.post(f"/uploads/{old['id']}/complete")
    assert_problem(complete, 404, "upload_not_found")
    assert [one["id"] for one in api.get("/uploads").json()["data"]] == [young["id"]]
    Janitor(
        database=database,
        storage=storage,
        cache=BlobCache(storage, settings.home, 0),
        home=settings.home,
        grace_s=0,
        stray_grace_s=3600,
    ).clean()
    assert stored(database) == set()
    assert list(storage.stored()) == []
    with database.reading() as session:
        assert session.scalars(sa.select(Upload.id)).all() == [young["id"]]


def test_parts_are_no_orphans(
    api: httpx.Client, database: Database, storage: DirectoryStorage
) -> None:
    upl = begin(api)
    send(api, upl, 1, 2, 3, 4)
    blobs.mark_orphans(database)
    assert blobs.remove_orphans(database, storage, grace_s=0) == []
    assert api.post(f"/uploads/{upl['id']}/complete").status_code == 201
    blobs.mark_orphans(database)
    assert len(blobs.remove_orphans(database, storage, grace_s=0)) == 4
    assert stored(database) == {len(CONTENT)}


def test_there_must_be_room_for_parts_and_whole(settings: Settings) -> None:
    free = shutil.disk_usage(settings.home).free
    spare = min(free // 2, 4096 * MIB)  # far more than what others write meanwhile
    tight = settings.model_copy(update={"min_free_bytes": free - spare})
    with serve(tight) as address, httpx.Client(base_url=address) as api:
        body = announced(b"", size=3 * spare // 4, sha256="0" * 64)
        problem = assert_problem(api.post("/uploads", json=body), 507, "insufficient_storage")
        assert problem["retryable"]
        assert api.post("/uploads", json={**body, "size": spare // 8}).status_code == 201
        assert len(api.get("/uploads").json()["data"]) == 1


def test_an_upload_counts_from_its_beginning(settings: Settings, database: Database) -> None:
    project = add_project(database, "small", max_stored_bytes=len(CONTENT) + 10)
    key = add_key(database, project=project)[1]
    with guarded(settings, upload_part_bytes=PART) as address, client(address, key) as api:
        upl = begin(api)
        another = api.post("/uploads", json=announced(b"x" * 11))
        assert_problem(another, 429, "quota_exceeded")
        assert_problem(api.post("/files", content=b"x" * 11), 429, "quota_exceeded")
        send(api, upl, 1, 2, 3, 4)
        assert api.post(f"/uploads/{upl['id']}/complete").status_code == 201
        assert api.post("/files", content=b"x" * 10).status_code == 201
        assert begin(api)["parts"] == [], "what is there takes no more room"


def test_another_projects_bytes_are_not_known(settings: Settings, database: Database) -> None:
    """Whoever knows only their hash must not get them."""
    ours, theirs = (
        add_key(database, project=add_project(database, name))[1] for name in ("ours", "theirs")
    )
    with guarded(settings, upload_part_bytes=PART) as address:
        with client(address, theirs) as api:
            upload(api, CONTENT)
        with client(address, ours) as api:
            upl = begin(api)
            assert len(upl["parts"]) == 4
            complete = f"/uploads/{upl['id']}/complete"
            assert_problem(api.post(complete), 409, "upload_incomplete")
            other = os.urandom(len(CONTENT))
            send(api, upl, 1, 2, 3, 4, content=other)
            assert_problem(api.post(complete), 422, "checksum_mismatch")
            send(api, upl, 1, 2, 3, 4)
            assert api.post(complete).status_code == 201


def test_killed_in_the_middle_of_a_part_it_loses_that_part(tmp_path: Path, broker_url: str) -> None:
    upgrade(Settings(home=tmp_path))
    environment = {
        **os.environ,
        "STILLHOUSE_HOME": str(tmp_path),
        "STILLHOUSE_BROKER_URL": broker_url,
        "STILLHOUSE_DATABASE_URL": "",
        "STILLHOUSE_UPLOAD_PART_BYTES": str(PART),
    }
    socket = str(tmp_path / "api.sock")
    command = [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", "--uds", socket]

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*command, "--log-level", "error"], env=environment)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                api.get("/healthz")
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return process
        raise TimeoutError

    with httpx.Client(
        base_url="http://api", transport=httpx.HTTPTransport(uds=socket), timeout=30
    ) as api:
        process = start()
        upl = begin(api)
        send(api, upl, 1, 3)

        def dies_halfway() -> Iterator[bytes]:
            yield piece(CONTENT, 2)[: PART // 2]
            time.sleep(0.2)
            process.send_signal(signal.SIGKILL)
            process.wait()
            yield piece(CONTENT, 2)[PART // 2 :]

        with pytest.raises(httpx.TransportError):
            api.put(upl["parts"][1]["url"], content=dies_halfway())
        process = start()
        try:
            arrived = api.get(f"/uploads/{upl['id']}").json()["arrived"]
            assert [part["number"] for part in arrived] == [1, 3]
            send(api, upl, 2, 4)
            assert api.post(f"/uploads/{upl['id']}/complete").status_code == 201
        finally:
            process.terminate()
            process.wait()


def test_parts_are_few_and_cover_the_file() -> None:
    for size in (0, 1, 15, 16, 17, 16_000 * MIB, 16_000 * MIB + 1, 2**40):
        part = geometry.part_size(size, 16 * MIB)
        numbers = geometry.numbers(size, part)
        assert len(numbers) <= geometry.MAX_PARTS
        if len(numbers) < 2000:
            assert sum(geometry.length(size, part, n) for n in numbers) == size
        with pytest.raises(ValueError, match=str(len(numbers) + 1)):
            geometry.length(size, part, len(numbers) + 1)
