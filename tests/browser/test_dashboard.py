"""The dashboard, as a person uses it, over a real service with real trainings."""

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.acceptance.conftest import Service, mlp
from tests.browser.conftest import Open, axe

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

JOB = re.compile(r"#/jobs/(job_[0-9a-z]+)$")


@pytest.fixture(scope="module")
def url(service: Service) -> str:
    return str(service.http.base_url).rstrip("/")


def body(teacher: str, digits: str, **changes: Any) -> dict[str, Any]:
    return {
        "teachers": [teacher],
        "dataset": digits,
        "student": {"network": mlp(12)},
        "training": {"epochs": 10, "optimizer": {"name": "adam"}},
        **changes,
    }


@pytest.fixture(scope="module")
def grid(service: Service, digits: str, teacher: str) -> list[dict[str, Any]]:
    """Jobs that differ in temperature and alpha, once they have ended."""
    jobs = [
        service.post(
            "/jobs",
            body(
                teacher,
                digits,
                name=f"T {temperature} alpha {alpha}",
                method={"name": "kd", "temperature": temperature, "alpha": alpha},
                labels={"kind": "grid"},
            ),
        )
        for temperature in (2, 8)
        for alpha in (0.5, 1.0)
    ]
    return [service.ended(job["id"]) for job in jobs]


def job_of(page: "Page") -> str:
    page.wait_for_url(JOB)
    match = JOB.search(page.url)
    assert match
    return match[1]


def test_from_the_form_to_the_download(
    url: str, service: Service, digits: str, teacher: str, open_page: Open, tmp_path: Path
) -> None:
    page = open_page(f"{url}/#/new")
    assert page.get_by_label("data set").input_value() == digits, "the only one"
    page.get_by_role("textbox", name="name", exact=True).fill("from the form")
    # The network's shape has come from the data.
    assert page.get_by_label("inputs").input_value() == "64"
    page.get_by_label("hidden").fill("12")
    page.get_by_label("epochs", exact=True).fill("many")
    field = page.get_by_label("epochs", exact=True)
    page.wait_for_selector("[aria-invalid]")
    assert field.get_attribute("aria-invalid") == "true"
    said = page.locator(f"#{(field.get_attribute('aria-describedby') or '').split()[-1]}")
    assert "integer" in said.inner_text()
    assert page.get_by_role("button", name="Submit the job").is_disabled()
    page.get_by_role("heading", name="Something is wrong").wait_for()
    page.get_by_role("button", name="training › epochs").click()
    assert field.evaluate("it => it === document.activeElement")
    field.fill("150")
    # What few change is folded away, and a mistake in it leads there.
    folded = page.get_by_text("More: precision")
    folded.click()
    rare = page.get_by_label("log every", exact=True)
    rare.fill("often")
    folded.click()
    assert not rare.is_visible()
    page.get_by_role("button", name="training › log every").click()
    assert rare.evaluate("it => it === document.activeElement")
    rare.fill("")
    page.get_by_label("lr", exact=True).fill("0.02")
    page.get_by_role("heading", name="This would run").wait_for()
    page.get_by_text("Takes about", exact=True).wait_for()
    request = page.get_by_role("region", name="The request")
    assert '"epochs": 150' in request.inner_text()
    assert '"batch_size"' not in request.inner_text(), "a default is not repeated"
    page.get_by_role("button", name="curl").click()
    assert request.inner_text().startswith(f"curl -s {url}/jobs")

    page.get_by_role("button", name="Submit the job").click()
    job = job_of(page)
    assert service.get(f"/jobs/{job}")["spec"]["training"]["optimizer"]["lr"] == 0.02

    # Live: progress moves, curves are drawn, and the verdict comes, all without a reload.
    page.evaluate("window.mine = true")
    bar = page.get_by_role("progressbar", name="Progress")
    seen = set()
    while page.locator(".verdict").count() == 0:
        # In one step: it goes when the job ends.
        seen.update(bar.evaluate_all("all => all.map((it) => it.getAttribute('aria-valuenow'))"))
        page.wait_for_timeout(100)
        assert not service.get(f"/jobs/{job}")["error"]
    assert len(seen) > 2, seen
    assert page.get_by_role("button", name="Delete").is_visible(), "what can be done has changed"
    assert page.evaluate("window.mine")
    report = service.get(f"/jobs/{job}/report")
    verdict = page.get_by_role("region", name="Verdict")
    assert report["sentence"] in verdict.inner_text()
    accuracy = page.get_by_role("figure").filter(has_text="Accuracy on validation")
    accuracy.locator("canvas").wait_for()
    assert "teacher" in accuracy.inner_text()
    page.get_by_role("heading", name="Confusion").wait_for()
    assert page.get_by_text("succeeded").count() >= 1

    with page.expect_download() as download:
        page.get_by_role("link", name="student.safetensors", exact=True).click()
    download.value.save_as(tmp_path / "student")
    digest = hashlib.sha256((tmp_path / "student").read_bytes()).hexdigest()
    files = service.get(f"/jobs/{job}/artifacts")["data"]
    assert digest == next(one["sha256"] for one in files if one["name"] == "student.safetensors")


def test_pause_resume_and_cancel_with_a_question_before(
    url: str, service: Service, digits: str, teacher: str, open_page: Open
) -> None:
    training = {"epochs": 4000}
    job = service.post("/jobs", body(teacher, digits, training=training))["id"]
    page = open_page(f"{url}/#/jobs/{job}")
    service.until(f"/jobs/{job}", lambda it: it["state"] == "running")

    page.get_by_role("button", name="Pause").click()
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0
    assert service.get(f"/jobs/{job}")["state"] == "running", "nothing was done"
    for verb, state in (("Pause", "paused"), ("Resume", "running"), ("Cancel", "cancelled")):
        page.get_by_role("button", name=verb, exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name=re.compile(f"^{verb}")).click()
        page.locator(".heading .state").get_by_text(state, exact=True).wait_for()
        service.until(f"/jobs/{job}", lambda it, state=state: it["state"] == state)
    assert "Pause" not in page.locator("main .actions").first.inner_text()
    assert page.locator(".timeline li").count() >= 5

    page.get_by_role("button", name="Clone").click()
    page.get_by_role("link", name="Change something first").click()
    page.wait_for_url(f"**/#/new?from={job}")
    assert page.get_by_label("epochs", exact=True).input_value() == "4000"


def test_without_a_stream_it_is_asked_again(
    url: str, service: Service, digits: str, teacher: str, open_page: Open
) -> None:
    page = open_page(url)
    page.route("**/stream*", lambda route: route.fulfill(status=404))
    job = service.post("/jobs", body(teacher, digits, name="polled"))["id"]
    page.goto(f"{url}/#/jobs/{job}")
    page.locator(".verdict").wait_for()


def test_filters_and_comparison(
    url: str, service: Service, grid: list[dict[str, Any]], open_page: Open
) -> None:
    page = open_page(url)
    rows = page.locator(".jobs > li")
    page.get_by_label("Name").fill("t 8")
    page.wait_for_url("**/#/jobs?name=t+8")
    rows.nth(2).wait_for(state="detached")  # all jobs are there until the answer is
    assert rows.count() == 2
    page.get_by_role("button", name="failed").click()
    page.get_by_role("heading", name="No job is like that").wait_for()
    page.get_by_role("button", name="Show all jobs").click()
    page.get_by_role("button", name="kind:grid").first.click()
    page.wait_for_url("**label=kind**")
    rows.nth(len(grid)).wait_for(state="detached")
    assert rows.count() == len(grid)
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.locator(".tray").get_by_role("link", name="Compare").click()

    page.get_by_role("heading", name="Map").wait_for()
    told = {
        (job["spec"]["method"]["temperature"], job["spec"]["method"]["alpha"]): service.get(
            f"/jobs/{job['id']}/report"
        )["student"]["accuracy"]
        for job in grid
    }
    cells = page.locator(".heat tbody tr")
    for row, temperature in enumerate((2.0, 8.0)):
        for column, alpha in enumerate((0.5, 1.0)):
            shown = cells.nth(row).locator("td").nth(column).inner_text()
            assert shown == f"{100 * told[temperature, alpha]:.2f} %"
    table = page.locator("table.sorted")
    assert "temperature" in table.inner_text()
    assert "epochs" not in table.inner_text(), "the same in all"
    page.get_by_role("button", name="Student").click()
    order = [
        float(text.split()[0])
        for text in table.locator("tbody tr td:nth-child(6)").all_inner_texts()
    ]
    assert order == sorted(order, reverse=True)
    page.locator(".chart canvas").wait_for()
    assert page.locator(".legend .line").count() == len(grid)


def test_jobs_of_one_name_are_told_apart(
    url: str, service: Service, digits: str, teacher: str, open_page: Open
) -> None:
    """By when they were made; and teachers have names here, not ids."""
    bodies = [
        body(teacher, digits, name="twin"),
        body(teacher, digits, name="twin", method={"name": "supervised"}, teachers=[]),
    ]
    twins = [service.post("/jobs", one)["id"] for one in bodies]
    page = open_page(f"{url}/#/compare?job={twins[0]}&job={twins[1]}")
    heads = page.locator("table.sorted tbody th")
    heads.nth(1).wait_for()
    told = {text.rstrip("×").strip() for text in heads.all_inner_texts()}
    assert len(told) == 2
    assert all(one.startswith("twin · ") for one in told)
    name = service.get(f"/teachers/{teacher}")["name"]
    page.locator("table.sorted").get_by_role("link", name=name, exact=True).wait_for()
    assert teacher not in page.locator("table.sorted").inner_text()


def test_register_a_data_set_and_a_teacher(
    url: str, service: Service, grid: list[dict[str, Any]], open_page: Open, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", x=rng.normal(size=(200, 64)), y=rng.integers(0, 10, 200))
    page = open_page(f"{url}/#/datasets/new")
    page.get_by_label("name", exact=True).fill("mine")
    page.get_by_label("file", exact=True).set_input_files(tmp_path / "mine.npz")
    page.get_by_text("SHA-256").wait_for()
    page.get_by_role("button", name="Register the data set").click()
    page.locator(".heading .state").get_by_text("ready", exact=True).wait_for()
    assert "128" in page.locator("dl.facts").first.inner_text() or "144" in page.inner_text("main")

    weights = tmp_path / "student.safetensors"
    weights.write_bytes(service.http.get(f"/jobs/{grid[0]['id']}/student").content)
    page.goto(f"{url}/#/teachers/new")
    page.get_by_label("name", exact=True).fill("small one")
    page.get_by_label("file", exact=True).set_input_files(weights)
    page.get_by_text("SHA-256").wait_for()
    page.get_by_label("inputs").fill("64")
    page.get_by_label("hidden").fill("13")
    page.get_by_role("button", name="Register the teacher").click()
    page.locator(".heading .state").get_by_text("rejected", exact=True).wait_for()
    page.get_by_role("alert").wait_for()
    page.goto(f"{url}/#/teachers/new")
    page.get_by_label("name", exact=True).fill("small one")
    page.get_by_label("file", exact=True).set_input_files(weights)
    page.get_by_text("SHA-256").wait_for()
    page.get_by_label("inputs").fill("64")
    page.get_by_label("hidden").fill("12")
    page.get_by_role("button", name="Register the teacher").click()
    page.locator(".heading .state").get_by_text("ready", exact=True).wait_for()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_what_a_teacher_knows(
    url: str, service: Service, digits: str, teacher: str, open_page: Open, width: int, scheme: str
) -> None:
    page = open_page(
        f"{url}/#/teachers/{teacher}", width=width, scheme=scheme, reduced_motion="reduce"
    )
    known = page.get_by_role("region", name="Dark knowledge")
    known.get_by_label("On", exact=True).select_option(digits)
    known.get_by_text(re.compile("^Try T")).wait_for()
    told = service.get(f"/teachers/{teacher}/report?dataset={digits}&parameters=40")
    low, high = told["advice"]["temperatures"]
    known.get_by_label("Parameters of the student").fill("40")
    known.get_by_text(told["advice"]["reasons"][1]).wait_for()
    known.get_by_text(f"Try T {low:g} to {high:g}").wait_for()
    softness = known.get_by_role("img", name="entropy of the soft targets")
    assert f"T {low:g} to {high:g}" in str(softness.get_attribute("aria-label"))
    pair = told["similarity"]["confused"][0]
    row = known.get_by_role("table", name="The most alike").locator("tbody tr").first
    assert row.locator("td").all_inner_texts() == [
        *map(str, pair["classes"]),
        f"{100 * pair['similarity']:.1f} %",
    ]
    assert known.locator("svg.alike rect").count() == 90
    assert known.locator("svg.calibration .side circle").count() == sum(
        one["examples"] > 0 for one in told["calibration"]["plain"]["bins"]
    )
    known.get_by_text("The numbers").click()
    assert known.get_by_role("table", name="Soft targets").locator("tbody tr").count() == 15
    assert axe(page) == []
    wider = "[...document.querySelectorAll('main *')].filter((one) => !one.closest('.wide')"
    wider += " && one.getBoundingClientRect().right > innerWidth).map((one) => one.outerHTML)"
    assert page.evaluate(wider) == []
    # What cannot be is not asked for, and what was told stays.
    known.get_by_label("Parameters of the student").fill("0")
    page.wait_for_timeout(600)
    assert known.get_by_text(f"Try T {low:g} to {high:g}").is_visible()


def test_a_teacher_is_asked_about_what_fits_it(
    url: str, service: Service, digits: str, teacher: str, open_page: Open, tmp_path: Path
) -> None:
    np.savez(tmp_path / "narrow.npz", x=np.random.rand(200, 4), y=np.arange(200) % 10)
    file = service.upload((tmp_path / "narrow.npz").read_bytes(), "narrow.npz")
    again = {"kind": "builtin", "name": "digits"}
    made = [
        service.post("/datasets", {"name": "digits", "source": source})["id"]
        for source in (again, {"kind": "file", "file": file})
    ]
    for one in made:
        assert service.checked(f"/datasets/{one}")["state"] == "ready"
    page = open_page(f"{url}/#/teachers/{teacher}")
    known = page.get_by_role("region", name="Dark knowledge")
    known.get_by_text(re.compile("^Try T")).wait_for()
    offered = known.get_by_label("On", exact=True).locator("option")
    ids = offered.evaluate_all("all => all.map((it) => it.value)")
    assert {digits, made[0]} <= set(ids)
    assert made[1] not in ids, "its examples have another shape"
    names = offered.all_inner_texts()
    assert len(set(names)) == len(names), "told apart by when they were registered"


def test_what_recorded_outputs_know(
    url: str, service: Service, open_page: Open, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    logits = rng.normal(size=(200, 3)).astype(np.float32) + 3 * np.eye(3, dtype=np.float32)[y]
    np.savez(tmp_path / "black.npz", x=rng.normal(size=(200, 4)), y=y, teacher_logits=logits)
    content = (tmp_path / "black.npz").read_bytes()
    file = service.http.post("/files", content=content, headers={"X-Filename": "black.npz"})
    source = {"kind": "file", "file": file.json()["id"]}
    dataset = service.post("/datasets", {"name": "black box", "source": source})["id"]
    assert service.checked(f"/datasets/{dataset}")["state"] == "ready"
    page = open_page(f"{url}/#/datasets/{dataset}")
    known = page.get_by_role("region", name="Dark knowledge")
    known.get_by_text("students of all sizes").wait_for()
    assert known.locator("svg.alike rect").count() == 6
    assert axe(page) == []


def test_the_parts_of_a_gain_are_told(
    url: str, service: Service, digits: str, teacher: str, open_page: Open
) -> None:
    controls = [{"name": "label_smoothing"}, {"name": "permuted"}]
    asked = body(teacher, digits, baseline={"controls": controls})
    job = service.ended(service.post("/jobs", asked)["id"])
    report = service.get(f"/jobs/{job['id']}/report")
    page = open_page(f"{url}/#/jobs/{job['id']}")
    verdict = page.get_by_role("region", name="Verdict")
    verdict.get_by_text(report["attribution"]["sentence"]).wait_for()
    table = page.get_by_role("table", name="Measures of each side")
    heads = table.locator("thead th").all_inner_texts()
    assert heads[1:] == ["teacher", "student", "baseline", "label smoothing", "permuted"]
    accuracy = table.locator("tbody tr").first.locator("td").last.inner_text()
    assert accuracy == f"{100 * report['controls']['permuted']['accuracy']:.2f} %"
    assert axe(page) == []


TOUCHING = """
    () => {
      const words = (cell) => {
        const range = document.createRange();
        range.selectNodeContents(cell);
        return range.getBoundingClientRect();
      };
      return [...document.querySelectorAll("table:not(.heat) tr > * + *")].filter((cell) => {
        const [before, here] = [words(cell.previousElementSibling), words(cell)];
        return before.width && here.width && here.left - before.right < 8;
      }).map((cell) => cell.parentElement.textContent);
    }
"""


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_every_page_is_accessible_and_moves_nothing(
    url: str, service: Service, grid: list[dict[str, Any]], open_page: Open, width: int, scheme: str
) -> None:
    jobs = "&".join(f"job={job['id']}" for job in grid)
    dataset = service.get("/datasets")["data"][0]["id"]
    teacher = service.get("/teachers")["data"][0]["id"]
    paths = [
        "",
        "#/jobs?state=failed",
        f"#/jobs/{grid[0]['id']}",
        "#/new",
        f"#/new?from={grid[0]['id']}",
        "#/compare",
        f"#/compare?{jobs}",
        "#/teachers",
        f"#/teachers/{teacher}",
        "#/teachers/new",
        "#/datasets",
        f"#/datasets/{dataset}",
        "#/datasets/new",
        "#/nowhere",
    ]
    for path in paths:
        page = open_page(f"{url}/{path}", width=width, scheme=scheme, reduced_motion="reduce")
        page.wait_for_load_state("networkidle") if not path.startswith("#/jobs/") else None
        page.wait_for_timeout(300)
        assert axe(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.evaluate("window.shifted") < 0.02, path
        assert page.evaluate(TOUCHING) == [], path
        if path in ("#/jobs?state=failed", "#/nowhere"):
            assert page.evaluate("document.documentElement.scrollHeight <= innerHeight"), path
        assert page.evaluate("document.getAnimations().length") == 0, path
        page.context.close()
