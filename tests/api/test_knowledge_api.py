"""Reports of what teachers know: asked for, made once, told, drawn."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
import sqlalchemy as sa

from app.db import Database, now_plus
from app.tables import KnowledgeReport
from tests.api.helpers import KNOWLEDGE, MLP, Rows, assert_problem

PICTURES = ("softness", "similarity", "confused", "calibration")
SVG = "{http://www.w3.org/2000/svg}"


def reports(database: Database) -> list[KnowledgeReport]:
    with database.reading() as session:
        return list(session.scalars(sa.select(KnowledgeReport)))


def ask(api: httpx.Client, teacher: str, dataset: str, **query: Any) -> httpx.Response:
    return api.get(f"/teachers/{teacher}/report", params={"dataset": dataset, **query})


@pytest.fixture
def pair(rows: Rows) -> tuple[str, str]:
    return rows.teacher(sha256=None), rows.dataset()


def test_the_first_question_is_taken_and_asked_but_once(
    api: httpx.Client, pair: tuple[str, str], database: Database
) -> None:
    answers = [ask(api, *pair) for _ in range(3)]
    for answer in answers:
        assert answer.status_code == 202, answer.text
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["location"] == f"/teachers/{pair[0]}/report?dataset={pair[1]}"
        told = answer.json()
        assert (told["state"], told["teacher"], told["dataset"]) == ("computing", *pair)
        assert told["softness"] is told["advice"] is told["calibration"] is None
        assert told["pictures"] == []
        assert api.get(answer.headers["location"]).json() == told
    (row,) = reports(database)
    assert (row.state, row.subject, row.teacher_id, row.dataset_id) == (
        "checking",
        pair[0],
        *pair,
    )
    page = ask(api, *pair, format="html")
    assert page.status_code == 202
    assert 'http-equiv="refresh"' in page.text
    problem = assert_problem(
        api.get(f"/teachers/{pair[0]}/report/softness.svg?dataset={pair[1]}"),
        409,
        "report_not_ready",
    )
    assert problem["retryable"]


def test_a_made_report_is_told_with_advice(
    api: httpx.Client, rows: Rows, pair: tuple[str, str]
) -> None:
    rows.knowledge(pair[1], pair[0])
    answer = ask(api, *pair, parameters=2000)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["state"] == "ready"
    assert told["class_names"] == [str(label) for label in range(10)]
    assert told["softness"][0]["entropy_share"] == 0.1
    assert told["similarity"]["confused"] == [{"classes": [3, 5], "similarity": 0.4}]
    assert told["calibration"]["temperature"] == 1.5
    teacher_parameters = 784 * 32 + 32 + 32 * 10 + 10
    advice = told["advice"]
    assert advice["share"] == pytest.approx(2000 / teacher_parameters)
    assert (advice["parameters"], advice["assumed"]) == (2000, False)
    low, high = advice["temperatures"]
    assert 1 < low < advice["first"] < high <= 20
    assert "advice" in advice["caveat"]
    assert ask(api, *pair).json()["advice"]["assumed"]
    assert ask(api, *pair, parameters=10**6).json()["advice"]["temperatures"][0] > low
    assert [one["name"] for one in told["pictures"]] == list(PICTURES)
    assert told["links"]["html"].endswith("&format=html")
    assert api.get(told["links"]["self"]).json() == told


def test_pictures_are_drawn_and_say_what_they_show(
    api: httpx.Client, rows: Rows, pair: tuple[str, str]
) -> None:
    rows.knowledge(pair[1], pair[0])
    told = ask(api, *pair, parameters=300).json()
    for picture in told["pictures"]:
        answer = api.get(picture["url"])
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/svg+xml"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        drawn = ElementTree.fromstring(answer.text)
        assert drawn.tag == f"{SVG}svg"
        assert drawn.find(f"{SVG}title").text
        assert len(drawn.find(f"{SVG}desc").text) > 20
        assert "prefers-color-scheme:dark" in answer.text
        # Nothing stands outside of the picture.
        width, height = float(drawn.get("width")), float(drawn.get("height"))
        for text in drawn.iter(f"{SVG}text"):
            assert 0 <= float(text.get("x")) <= width
            assert 0 <= float(text.get("y")) <= height
    softness = api.get(told["pictures"][0]["url"]).text
    assert f"advised: T {told['advice']['temperatures'][0]:g} to" in softness
    matrix = ElementTree.fromstring(api.get(told["pictures"][1]["url"]).text)
    cells = [rect for rect in matrix.iter(f"{SVG}rect") if rect.get("class") == "f1"]
    assert len(cells) == 90
    page = ask(api, *pair, format="html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.count("<svg") == 4
    assert "advice, not a finding" in page.text
    assert_problem(
        api.get(f"/teachers/{pair[0]}/report/other.svg?dataset={pair[1]}"), 404, "not_found"
    )


def test_names_of_clients_are_text_and_nothing_else(api: httpx.Client, rows: Rows) -> None:
    """In pictures and in the page."""
    evil = ["<script>alert(1)</script>", "\"'><img src=x>", "a & b", *map(str, range(7))]
    teacher = rows.teacher(name="<b>bold</b>", class_names=evil)
    dataset = rows.dataset(class_names=evil)
    rows.knowledge(dataset, teacher)
    told = ask(api, teacher, dataset).json()
    assert told["class_names"] == evil
    texts = [api.get(picture["url"]).text for picture in told["pictures"]]
    for text in texts:
        ElementTree.fromstring(text)
    texts.append(ask(api, teacher, dataset, format="html").text)
    for text in texts:
        assert not re.search(r"<(script|img|b)[ >]", text)


def test_the_same_content_is_described_once(
    api: httpx.Client, rows: Rows, database: Database
) -> None:
    """Under other ids and other names; not with other weights, or another normalisation."""
    weights = [rows.artifact(rows.job(), "w", content) for content in (b"a", b"b")]
    first, other_name, other_weights = (
        rows.teacher(sha256=weights[n], name=name) for n, name in ((0, "a"), (0, "again"), (1, "b"))
    )
    data, same_data = (rows.dataset(class_names=names) for names in (None, [*"abcdefghij"]))
    rescaled = rows.dataset(preprocess={"scale": 1.0, "mean": [0.0], "std": [1.0]})
    assert ask(api, first, data).status_code == 202
    (row,) = reports(database)
    sha256 = rows.artifact(rows.job(), "r", KNOWLEDGE)
    rows.set(KnowledgeReport, row.id, state="ready", sha256=sha256)
    assert ask(api, other_name, data).status_code == 200
    named = ask(api, other_name, same_data)
    assert named.status_code == 200
    assert named.json()["class_names"] == [*"abcdefghij"]
    assert ask(api, other_weights, data).status_code == 202
    assert ask(api, first, rescaled).status_code == 202
    narrow = rows.teacher(sha256=weights[0], network={**MLP, "dropout": 0.5})
    assert ask(api, narrow, data).status_code == 202


@pytest.mark.parametrize(
    ("teacher", "dataset", "status", "code", "pointer"),
    [
        ({"state": "checking"}, {}, 409, "teacher_checking", None),
        ({"state": "rejected"}, {}, 409, "teacher_rejected", None),
        ({}, {"state": "checking"}, 409, "dataset_checking", None),
        ({}, {"state": "rejected"}, 422, "dataset_rejected", "/query/dataset"),
        ({"network": {**MLP, "classes": 7}}, {}, 422, "classes_mismatch", "/query/dataset"),
        ({"network": {**MLP, "inputs": 100}}, {}, 422, "shape_mismatch", "/query/dataset"),
        (
            {"class_names": [*"abcdefghij"]},
            {"class_names": [*"bacdefghij"]},
            422,
            "class_names_mismatch",
            "/query/dataset",
        ),
    ],
)
def test_what_cannot_be_described(
    api: httpx.Client,
    rows: Rows,
    database: Database,
    teacher: dict[str, Any],
    dataset: dict[str, Any],
    status: int,
    code: str,
    pointer: str | None,
) -> None:
    answer = ask(api, rows.teacher(**teacher), rows.dataset(**dataset))
    problem = assert_problem(answer, status, code, pointer)
    assert problem["retryable"] == code.endswith("_checking")
    assert reports(database) == []


def test_what_is_not_there(api: httpx.Client, rows: Rows, database: Database) -> None:
    teacher, dataset = rows.teacher(), rows.dataset()
    assert_problem(ask(api, "tch_0", dataset), 404, "teacher_not_found")
    assert_problem(ask(api, teacher, "dst_0"), 422, "unknown_dataset", "/query/dataset")
    assert_problem(ask(api, teacher, "digits"), 422, "validation_failed", "/query/dataset")
    assert_problem(api.get(f"/teachers/{teacher}/report"), 422, "validation_failed")
    assert_problem(ask(api, teacher, dataset, parameters=0), 422, "validation_failed")
    assert_problem(ask(api, teacher, dataset, format="pdf"), 422, "validation_failed")
    assert_problem(ask(api, teacher, dataset, t=4), 422, "unknown_parameter")
    assert_problem(api.get("/datasets/dst_0/report"), 404, "dataset_not_found")
    assert reports(database) == []


def test_recorded_outputs_have_a_report_too(
    api: httpx.Client, rows: Rows, database: Database
) -> None:
    plain, recorded = rows.dataset(), rows.dataset(teacher_outputs="logits")
    assert_problem(api.get(f"/datasets/{plain}/report"), 409, "no_teacher_outputs")
    answer = api.get(f"/datasets/{recorded}/report")
    assert (answer.status_code, answer.json()["teacher"]) == (202, None)
    assert answer.headers["location"] == f"/datasets/{recorded}/report"
    (row,) = reports(database)
    rows.set(
        KnowledgeReport,
        row.id,
        state="ready",
        sha256=rows.artifact(rows.job(), "r", KNOWLEDGE),
    )
    told = api.get(f"/datasets/{recorded}/report?parameters=5000").json()
    assert told["advice"]["share"] is None
    assert "students of all sizes" in " ".join(told["advice"]["reasons"])
    for picture in told["pictures"]:
        assert api.get(picture["url"]).status_code == 200
    checking = rows.dataset(state="checking", teacher_outputs="logits")
    assert_problem(api.get(f"/datasets/{checking}/report"), 409, "dataset_checking")


PASSING = {"code": "over_memory", "detail": "Too much.", "status": 422}
LASTING = {"code": "non_finite_outputs", "detail": "Not finite.", "status": 422}


def test_a_report_that_came_to_nothing_says_why_and_is_tried_again(
    api: httpx.Client, rows: Rows, database: Database, pair: tuple[str, str]
) -> None:
    report = rows.knowledge(pair[1], pair[0], state="rejected", error=PASSING, sha256=None)
    answer = ask(api, *pair)
    problem = assert_problem(answer, 503, "over_memory")
    assert problem["retryable"]
    assert "Too much." in problem["detail"]
    assert answer.headers["retry-after"] == "60"
    rows.set(KnowledgeReport, report, changed_at=now_plus(-61))
    assert ask(api, *pair).status_code == 202
    (row,) = reports(database)
    assert (row.state, row.error) == ("checking", None)

    rows.set(KnowledgeReport, report, state="rejected", error=LASTING, changed_at=now_plus(-3600))
    problem = assert_problem(ask(api, *pair), 422, "non_finite_outputs")
    assert not problem["retryable"]


def test_a_report_goes_with_its_teacher_or_dataset(
    api: httpx.Client, rows: Rows, database: Database
) -> None:
    teachers, datasets = [rows.teacher() for _ in range(2)], [rows.dataset() for _ in range(2)]
    for teacher in teachers:
        for dataset in datasets:
            assert ask(api, teacher, dataset).status_code == 202
    assert len(reports(database)) == 4
    assert api.delete(f"/teachers/{teachers[0]}").status_code == 204
    assert {row.teacher_id for row in reports(database)} == {teachers[1]}
    assert api.delete(f"/datasets/{datasets[0]}").status_code == 204
    assert [row.dataset_id for row in reports(database)] == [datasets[1]]


def test_what_labels_and_classes_there_are_decides_what_is_drawn(
    api: httpx.Client, rows: Rows, pair: tuple[str, str]
) -> None:
    known = json.loads(KNOWLEDGE)
    known |= {"calibration": None}
    known["similarity"] |= {"matrix": None, "confused": []}
    sha256 = rows.artifact(rows.job(), "r", json.dumps(known).encode())
    rows.knowledge(pair[1], pair[0], sha256=sha256)
    told = ask(api, *pair).json()
    assert [one["name"] for one in told["pictures"]] == ["softness"]
    for picture in ("similarity", "confused", "calibration"):
        url = f"/teachers/{pair[0]}/report/{picture}.svg?dataset={pair[1]}"
        assert_problem(api.get(url), 404, "picture_not_drawn")
    assert ask(api, *pair, format="html").text.count("<svg") == 1


def test_two_who_ask_at_once_ask_for_one(
    api: httpx.Client, pair: tuple[str, str], database: Database
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(api, *pair).status_code, range(16)))
    assert answers == [202] * 16
    assert len(reports(database)) == 1
