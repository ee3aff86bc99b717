"""Two projects on one service: every operation of the OpenAPI document, asked by the wrong one.

A new endpoint is walked without a word here. A new kind of id in a path is a KeyError: add one of
`theirs` to `Theirs.ids`.
"""

import copy
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.db import Database
from app.main import create_app
from app.metrics import writing
from app.settings import Settings
from app.storage import DirectoryStorage
from app.tables import Job, JobLabel, Owned, Row
from tests.api.callers import add_key, add_project, client, guarded
from tests.api.helpers import SMALL_MLP, Rows, assert_problem, checkpoint, job_body, upload

MARK = "zzsecretzz"
"""In everything that the other project has."""
PATHS = create_app(Settings()).openapi()["paths"]
OPERATIONS = [(method.upper(), path) for path, methods in PATHS.items() for method in methods]
ID = re.compile(r"(file|upl|tch|dst|evl|job|prj|key|whk|whd|swp)_[0-9a-z]{1,40}")
BARRED = {("PATCH", "/projects/{project_id}")}
"""Refused whatever the id is."""


@dataclass
class Theirs:
    """A project with one of everything, and what a request needs to name it."""

    admin: httpx.Client
    project: str
    ids: dict[str, str] = field(default_factory=dict)
    """By path parameter."""

    def url(self, path: str, ids: dict[str, str]) -> str:
        """With what the operation asks for in the query; that names things of theirs too."""
        query = "&".join(f"{name}={ids[f'{name}_id']}" for name in _asked(path))
        found = re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], path)
        return f"{found}?{query}" if query else found

    def body(self, operation: dict[str, Any], ids: dict[str, str]) -> Any:
        """The document's own example, naming things of theirs."""
        content = operation.get("requestBody", {}).get("content", {})
        example = content.get("application/json", {}).get("example")
        by_kind = {one.partition("_")[0]: one for one in ids.values()}
        return _renamed(copy.deepcopy(example), by_kind)


def _asked(path: str) -> list[str]:
    """The query parameters that an address cannot do without."""
    parameters = PATHS[path].get("get", {}).get("parameters", [])
    return [one["name"] for one in parameters if one["in"] == "query" and one["required"]]


def _renamed(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(member, ids) for key, member in value.items()}
    if isinstance(value, list):
        return [_renamed(member, ids) for member in value]
    if isinstance(value, str) and (found := ID.fullmatch(value)):
        return ids[found[1]]
    return value


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    with guarded(settings) as address:
        yield address


@pytest.fixture
def theirs(address: str, database: Database, storage: DirectoryStorage) -> Iterator[Theirs]:
    project = add_project(database, MARK)
    key_id, key = add_key(database, project=project)
    rows = Rows(database, storage, project)
    with client(address, key) as admin:
        sweep = rows.sweep(name=MARK, spec={"job": SPEC, "grid": {"name": [MARK]}})
        job = rows.job(
            name=MARK,
            state="succeeded",
            spec={**SPEC, "name": MARK},
            labels={"team": MARK},
            sweep_id=sweep,
            sweep_place=0,
        )
        rows.artifact(job, "student.safetensors", MARK.encode())
        rows.artifact(
            job, "report.json", b'{"sentence": "%s"}' % MARK.encode(), kind="report", format="json"
        )
        with database.transaction() as session:
            session.add(JobLabel(job_id=job, key="team", value=MARK))
            writing.append(session, job, 1, [(MARK, 1, 0.1, 1.0, 0.5)])
        names = [f"{MARK}{label}" for label in range(10)]
        teacher = rows.teacher(name=MARK, class_names=names)
        dataset = rows.dataset(class_names=names, teacher_outputs="logits")
        rows.knowledge(dataset, teacher)
        rows.knowledge(dataset)
        yield Theirs(
            admin,
            project,
            {
                "job_id": job,
                "file_id": upload(admin, checkpoint(MARK.encode()), MARK),
                "upload_id": _begin(admin),
                "number": "1",
                "teacher_id": teacher,
                "dataset_id": dataset,
                "picture": "confused",
                "evaluation_id": rows.evaluation(teacher_id="tch_0", class_names=[MARK]),
                "project_id": project,
                "key_id": key_id,
                "sweep_id": sweep,
                **_webhook(admin),
                "name": "student.safetensors",
            },
        )


def _begin(admin: httpx.Client) -> str:
    """An upload whose one part is there."""
    body = {"filename": MARK, "size": 9, "sha256": hashlib.sha256(b"123456789").hexdigest()}
    begun = admin.post("/uploads", json=body).json()
    assert admin.put(begun["parts"][0]["url"], content=b"123456789").status_code == 200
    return begun["id"]


def _webhook(admin: httpx.Client) -> dict[str, str]:
    webhook = admin.post("/webhooks", json={"url": f"https://{MARK}.example.org/", "name": MARK})
    sent = admin.post(f"/webhooks/{webhook.json()['id']}/test")
    return {"webhook_id": webhook.json()["id"], "delivery_id": sent.json()["id"]}


SPEC = {
    "teachers": [],
    "dataset": "dst_0",
    "student": {"network": SMALL_MLP, "file": None},
    "method": {"name": "supervised"},
}
NOBODYS = {
    "job_id": "job_00000000000000000000000zz",
    "file_id": "file_00000000000000000000000zz",
    "upload_id": "upl_00000000000000000000000zz",
    "number": "1",
    "teacher_id": "tch_00000000000000000000000zz",
    "evaluation_id": "evl_00000000000000000000000zz",
    "dataset_id": "dst_00000000000000000000000zz",
    "project_id": "prj_00000000000000000000000zz",
    "key_id": "key_00000000000000000000000zz",
    "sweep_id": "swp_00000000000000000000000zz",
    "webhook_id": "whk_00000000000000000000000zz",
    "delivery_id": "whd_00000000000000000000000zz",
    "picture": "confused",
    "name": "student.safetensors",
}


@pytest.fixture
def ours(address: str, database: Database) -> Iterator[httpx.Client]:
    """Of another project, with every scope."""
    key = add_key(database, project=add_project(database, "ours"))[1]
    with client(address, key) as http:
        yield http


def everything(database: Database, project: str) -> Any:
    """All rows of a project, but for when its keys were used."""
    with database.reading() as session:
        return {
            mapper.class_.__tablename__: session.execute(
                sa.select(*(c for c in mapper.columns if c.key != "last_used_at"))
                .where(mapper.columns["project_id"] == project)
                .order_by(*mapper.primary_key)
            ).all()
            for mapper in Row.registry.mappers
            if issubclass(mapper.class_, Owned)
        }


def test_rows_19_and_20_no_operation_tells_of_another_project(
    theirs: Theirs, ours: httpx.Client, database: Database
) -> None:
    before = everything(database, theirs.project)
    for method, path in OPERATIONS:
        operation = PATHS[path][method.lower()]
        answers = [
            ours.request(method, theirs.url(path, ids), json=theirs.body(operation, ids))
            for ids in (theirs.ids, NOBODYS)
        ]
        where = f"{method} {path}: {answers[0].text}"
        assert answers[0].status_code < 500 or path == "/readyz", where
        if "{" in path:
            expected = 403 if (method, path) in BARRED else 404
            assert answers[0].status_code == expected, where
        assert answers[0].status_code == answers[1].status_code, where
        if answers[0].is_error:
            assert _blank(answers[0]) == _blank(answers[1]), where
        assert MARK not in answers[0].text, where
        assert "{" not in path or ours.head(theirs.url(path, theirs.ids)).status_code in (404, 405)
    assert everything(database, theirs.project) == before


def _blank(answer: httpx.Response) -> Any:
    """A problem without the ids that it echoes."""
    return ID.sub("ID", re.sub(r'"request_id":"[^"]*"', "", answer.text))


def test_the_ids_of_this_test_are_real(theirs: Theirs) -> None:
    """Whoever owns them finds something at each address: a 404 above means what it says."""
    for method, path in OPERATIONS:
        if method == "GET" and "{" in path:
            answer = theirs.admin.get(theirs.url(path, theirs.ids))
            assert answer.status_code == 200, (path, answer.text)


def test_lists_hold_nothing_of_another_project(
    theirs: Theirs, ours: httpx.Client, database: Database
) -> None:
    paths = (
        "jobs",
        "teachers",
        "datasets",
        "files",
        "uploads",
        "evaluations",
        "webhooks",
        "sweeps",
    )
    for path in map("/{}".format, paths):
        assert len(theirs.admin.get(path).json()["data"]) == 1
        assert ours.get(path).json() == {"data": [], "next_cursor": None}
    ids = theirs.ids
    for query in (
        f"/jobs?label=team:{MARK}",
        f"/jobs?sweep={ids['sweep_id']}",
        "/jobs?state=succeeded",
        f"/audit?project={theirs.project}",
        f"/audit?subject={ids['file_id']}",
        f"/audit?key={ids['key_id']}",
        f"/keys?project={theirs.project}",
    ):
        assert theirs.admin.get(query).json()["data"], query
        assert ours.get(query).json()["data"] == [], query


def test_row_20_naming_what_another_project_has(
    theirs: Theirs, ours: httpx.Client, database: Database, storage: DirectoryStorage
) -> None:
    own = Rows(database, storage, ours.get("/projects").json()["data"][0]["id"])
    ids = theirs.ids
    job = job_body(own)
    file = {"kind": "file", "file": ids["file_id"]}
    for path, body, code in (
        ("/jobs", {**job, "teachers": [ids["teacher_id"]]}, "unknown_teacher"),
        ("/jobs", {**job, "dataset": ids["dataset_id"]}, "unknown_dataset"),
        (
            "/jobs",
            {**job, "student": {"network": SMALL_MLP, "file": ids["file_id"]}},
            "unknown_file",
        ),
        ("/teachers", {"name": "t", "job": ids["job_id"]}, "unknown_job"),
        ("/teachers", {"name": "t", "file": ids["file_id"], "network": SMALL_MLP}, "unknown_file"),
        ("/datasets", {"name": "d", "source": file}, "unknown_file"),
        (
            "/evaluations",
            {"teacher": ids["teacher_id"], "dataset": job["dataset"]},
            "unknown_teacher",
        ),
        ("/evaluations", {"job": ids["job_id"], "dataset": job["dataset"]}, "unknown_job"),
        ("/keys", {"name": "k", "project": theirs.project}, "unknown_project"),
        ("/sweeps", {"job": job, "grid": {"teachers": [[ids["teacher_id"]]]}}, "unknown_teacher"),
    ):
        assert_problem(ours.post(path, json=body), 422, code)
    mine = own.teacher()
    for path in (f"/teachers/{mine}/report", f"/teachers/{mine}/report/confused.svg"):
        answer = ours.get(path, params={"dataset": ids["dataset_id"]})
        assert_problem(answer, 422, "unknown_dataset", "/query/dataset")
    assert ours.post("/jobs", json=job).status_code == 202


def test_row_19_the_same_bytes_are_two_files(theirs: Theirs, ours: httpx.Client) -> None:
    """Stored once, reached by each through a row of its own."""
    content = checkpoint(MARK.encode())
    own = upload(ours, content)
    assert ours.delete(f"/files/{own}").status_code == 204
    assert theirs.admin.get(f"/files/{theirs.ids['file_id']}/content").content == content
    assert ours.get(f"/files/{own}/content").status_code == 404


def test_cursors_and_idempotency_keys_are_a_projects_own(
    theirs: Theirs, ours: httpx.Client, database: Database
) -> None:
    digits = {"name": "d", "source": {"kind": "builtin", "name": "digits"}}
    header = {"Idempotency-Key": "k"}
    made = [http.post("/datasets", json=digits, headers=header) for http in (theirs.admin, ours)]
    assert made[0].json()["id"] != made[1].json()["id"]
    assert all("idempotency-replayed" not in answer.headers for answer in made)
    cursor = theirs.admin.get("/datasets?limit=1").json()["next_cursor"]
    assert_problem(ours.get(f"/datasets?cursor={cursor}"), 400, "invalid_cursor")


def test_the_operator_sees_no_jobs_of_others(
    theirs: Theirs, address: str, database: Database
) -> None:
    with client(address, add_key(database, "admin")[1]) as operator:
        assert operator.get("/jobs").json()["data"] == []
        assert operator.get(f"/jobs/{theirs.ids['job_id']}").status_code == 404
        assert operator.get(f"/projects/{theirs.project}").json()["active_jobs"] == 1
    with database.reading() as session:
        assert session.get_one(Job, theirs.ids["job_id"]).project_id == theirs.project
