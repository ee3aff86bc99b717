"""What the dashboard needs no worker for: many jobs, long curves, keys, and the first visit."""

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.db import Database
from app.migrate import upgrade
from app.settings import Settings
from app.states import State
from app.storage import open_storage
from app.tables import Job
from tests.api.callers import add_key, guarded
from tests.api.helpers import Rows, job_body, serve
from tests.browser.conftest import Open, axe
from workers.ledger import Ledger

pytestmark = pytest.mark.slow

JOBS = 1000
POINTS = 200_000
FRAMES = """
    async (how) => {
      const times = [];
      let last = performance.now();
      for (let frame = 0; frame < 90; frame++) {
        if (how === "scroll") scrollBy(0, 90);
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - last);
        last = performance.now();
      }
      return times.sort((a, b) => a - b);
    }
"""
PAINT = """
    () => new Promise((resolve) => new PerformanceObserver((list) => {
      resolve(list.getEntriesByName("first-contentful-paint")[0].startTime);
    }).observe({ type: "paint", buffered: true }))
"""


@pytest.fixture
def settings(tmp_path: Path, broker_url: str) -> Settings:
    url = f"sqlite:///{tmp_path / 'stillhouse.db'}"
    settings = Settings(database_url=url, broker_url=broker_url, home=tmp_path / "home")
    upgrade(settings)
    return settings


@pytest.fixture
def rows(settings: Settings) -> Iterator[Rows]:
    database = Database(settings.database)
    yield Rows(database, open_storage(settings))
    database.close()


def spec_of(rows: Rows) -> dict[str, object]:
    method = {"name": "kd", "temperature": 4.0, "alpha": 0.9}
    return {**job_body(rows), "method": method, "priority": "normal"}


def test_the_first_visit(settings: Settings, open_page: Open) -> None:
    with serve(settings) as address:
        page = open_page(address)
        page.get_by_role("heading", name="Nothing has been distilled here yet").wait_for()
        page.get_by_role("link", name="Register a data set").wait_for()
        assert page.evaluate(PAINT) < 1000
        assert page.evaluate("performance.now()") < 5000
        assert axe(page) == []
        page.get_by_role("button", name="Take the built-in digits").click()
        page.wait_for_url("**/#/datasets/dst_*")
        page.get_by_text("checking", exact=True).wait_for()


def test_a_thousand_jobs(settings: Settings, rows: Rows, open_page: Open) -> None:
    spec = spec_of(rows)
    for number in range(JOBS):
        state = ("succeeded", "running", "failed", "cancelled")[number % 97 % 4]
        rows.job(name=f"job {number:04}", spec=spec, state=state, labels={"n": str(number % 10)})
    with serve(settings) as address:
        page = open_page(address)
        while page.get_by_role("button", name="Show more").is_visible():
            page.evaluate("scrollTo(0, document.body.scrollHeight)")
            page.wait_for_timeout(30)
        page.locator(".jobs > li").nth(JOBS - 1).wait_for()
        page.evaluate("scrollTo(0, 0)")
        times = page.evaluate(FRAMES, "scroll")
        assert times[len(times) // 2] < 50, "frames of scrolling"
        # While it goes on asking for what is new, one of those that run ends.
        first = page.locator(".jobs > li").filter(has_text="job 0995")
        assert "running" in (first.text_content() or "")  # far away, so not laid out
        with rows.database.transaction() as session:
            session.execute(sa.update(Job).where(Job.name == "job 0995").values(state="cancelled"))
        first.filter(has_text="cancelled").wait_for(state="attached")
        began = time.monotonic()
        page.get_by_label("Name").fill("job 0123")
        page.locator(".jobs > li").nth(1).wait_for(state="detached")
        assert time.monotonic() - began < 3


def test_jobs_of_one_millisecond_all_stay(settings: Settings, rows: Rows, open_page: Open) -> None:
    """As a sweep makes them, here with ids that are in no order of time."""
    spec, many = spec_of(rows), 60
    for number in range(many):
        job = rows.job(name=f"job {number}", spec=spec, state="cancelled")
        made = datetime(2026, 1, 1, microsecond=many - number, tzinfo=UTC)
        with rows.database.transaction() as session:
            session.execute(sa.update(Job).where(Job.id == job).values(created_at=made))
    with serve(settings) as address:
        page = open_page(address)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.locator(".jobs > li").nth(many - 1).wait_for()
        page.wait_for_timeout(2500)  # it has asked again
        assert page.locator(".jobs > li").count() == many
        assert "job 0" in str(page.locator(".jobs > li").first.text_content())


def test_a_long_curve(settings: Settings, rows: Rows, open_page: Open) -> None:
    job = rows.job(name="long", spec=spec_of(rows))
    ledger = Ledger(rows.database, lease_s=60, max_attempts=3)
    claim = ledger.claim(job, "test")
    assert claim is not None
    for start in range(0, POINTS, 20_000):
        points = [
            ("train/loss", n, n / 1e4, 1.7e9 + n / 100, 1 / (1 + n) + 0.1 * math.sin(0.7 * n))
            for n in range(start, start + 20_000)
        ]
        ledger.write(claim, progress=claim.progress, phase="training", points=points)
    with serve(settings) as address:
        page = open_page(f"{address}/#/jobs/{job}")
        chart = page.get_by_role("figure").filter(has_text="Training loss")
        chart.locator("canvas").wait_for()
        with page.expect_response("**/metrics?keys=*") as wider:
            chart.get_by_role("button", name="Zoom in").click()
        assert wider.value.json()["series"][0]["count"] == POINTS
        before = len(wider.value.json()["series"][0]["x"])
        with page.expect_response("**/metrics?keys=*") as closer:
            chart.get_by_role("button", name="Zoom in").click()
        assert len(closer.value.json()["series"][0]["x"]) > 1.5 * before, "more detail"
        page.get_by_role("button", name="Log scale").click()
        page.get_by_label("Smoothing").fill("0.9")
        page.get_by_label("Along").select_option("step")
        times = page.evaluate(FRAMES, "still")
        assert times[len(times) // 2] < 50
        assert chart.locator("canvas").count() == 1
        # What is written now is seen without asking for the page again.
        ledger.write(
            claim,
            progress=claim.progress,
            phase="training",
            points=[("validation/accuracy", POINTS, POINTS / 1e4, 1.7e9, 0.75)],
        )
        new = page.get_by_role("figure").filter(has_text="Accuracy on validation")
        new.get_by_text("75 %", exact=True).wait_for()
        ledger.finish(claim, State.SUCCEEDED, reason="finished")
        page.locator(".heading .state").get_by_text("succeeded").wait_for()


def test_a_key_is_asked_for_and_kept_in_this_tab_alone(
    settings: Settings, rows: Rows, open_page: Open
) -> None:
    job = rows.job(name="secret", spec=spec_of(rows), state="succeeded")
    rows.artifact(job, "student.safetensors", b"weights")
    _, key = add_key(rows.database, "jobs:read")
    with guarded(settings) as address:
        page = open_page(f"{address}/#/jobs/{job}")
        page.get_by_role("heading", name="Sign in").wait_for()
        assert "secret" not in page.content()
        assert axe(page) == []
        page.get_by_label("API key").fill("sh_" + "x" * 52)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("This key is not known").wait_for()
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="secret").wait_for()
        assert key not in page.url
        assert page.evaluate("JSON.stringify(localStorage)").find(key) == -1
        assert page.evaluate("document.cookie") == ""
        with page.expect_download() as download:
            page.get_by_role("link", name="student.safetensors", exact=True).click()
        assert Path(download.value.path()).read_bytes() == b"weights"
        other = page.context.new_page()
        other.goto(address)
        other.get_by_role("heading", name="Sign in").wait_for()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Sign in").wait_for()


def test_the_theme_is_chosen_and_kept(settings: Settings, open_page: Open) -> None:
    with serve(settings) as address:
        page = open_page(address, scheme="light")
        ground = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(ground)
        page.get_by_role("button", name="Use the dark theme").click()
        dark = page.evaluate(ground)
        assert dark != light
        page.reload()
        assert page.evaluate(ground) == dark
        page.get_by_role("button", name="Use the light theme").click()
        assert page.evaluate(ground) == light


def test_a_service_that_goes_away_is_told_of(
    settings: Settings, rows: Rows, open_page: Open
) -> None:
    rows.job(name="here", spec=spec_of(rows))
    with serve(settings) as address:
        page = open_page(address)
        page.get_by_role("link", name="here").wait_for()
        page.context.set_offline(True)
        page.get_by_text("The service does not answer").wait_for()
        assert page.get_by_role("link", name="here").is_visible()
        # A page that was never opened cannot be, and can once the service is back.
        page.get_by_role("link", name="Teachers").click()
        page.get_by_text("The service was not reached").wait_for()
        again = page.get_by_role("button", name="Try again")
        again.click()
        assert again.is_visible()
        page.context.set_offline(False)
        page.get_by_text("The service does not answer").wait_for(state="hidden")
        again.click()
        page.get_by_role("heading", name="Teachers").wait_for()
