"""The dashboard in a real browser: first paint, a list of a thousand jobs, a chart of a million
points.

*Blocked* is the longest task of the page's own thread while something is done to it: for so long
it answers nobody. Painting is not in it, and a machine without a graphics processor paints slowly.
"""

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.ids import new_id
from app.tables import DEFAULT_PROJECT, Dataset, Job
from benchmarks.service.curves import POINTS, write_job
from benchmarks.service.hosts import Host, api, postgres_database

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

JOBS = 1000
LOADS = 10
TASKS = """
    window.tasks = [];
    const note = (list) => window.tasks.push(...list.getEntries().map((one) => one.duration));
    new PerformanceObserver(note).observe({ type: "longtask", buffered: false });
"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def measure(server: str | None) -> list[str]:
    """Rows of the table."""
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import chromium, launched

    if chromium() is None:
        return ["| the dashboard | not measured: there is no Chromium |"]
    with (
        postgres_database(server) as database_url,
        api(database_url) as host,
        sync_playwright() as playwright,
    ):
        browser = launched(playwright)
        rows = [_paint(browser, host, "an empty list")]
        _fill(host)
        rows += [_paint(browser, host, f"a list of {JOBS:,} jobs"), *_list(browser, host)]
        job_id, _ = write_job(host.database, 1)
        rows += _chart(browser, host, job_id)
        browser.close()
    return rows


def _fill(host: Host) -> None:
    with host.database.transaction() as session:
        dataset = Dataset(id=new_id("dst"), name="d", state="ready", spec={}, facts={})
        dataset.project_id = DEFAULT_PROJECT
        session.add(dataset)
        session.flush()
        for number in range(JOBS):
            job = Job(id=new_id("job"), name=f"job {number:03}", state="cancelled", seq=1)
            job.project_id, job.labels, job.progress = DEFAULT_PROJECT, {"n": str(number)}, {}
            network = {"family": "mlp", "inputs": 64, "hidden": [12], "classes": 10}
            job.spec = {
                "teachers": [],
                "dataset": dataset.id,
                "student": {"network": network},
                "method": {"name": "supervised"},
                "training": {"epochs": 1},
                "priority": "normal",
            }
            session.add(job)


def _paint(browser: "Browser", host: Host, what: str) -> str:
    times = []
    for _ in range(LOADS):
        page = browser.new_context().new_page()  # nothing is in its cache
        page.goto(host.url)
        page.wait_for_selector("main h1")
        page.wait_for_function(f"{PAINT} !== undefined")
        times.append(page.evaluate(PAINT))
        page.context.close()
    return (
        f"| first contentful paint, {what}, median / slowest of {LOADS} | "
        f"{statistics.median(times):.0f} / {max(times):.0f} ms |"
    )


def _list(browser: "Browser", host: Host) -> list[str]:
    page = browser.new_context().new_page()
    page.add_init_script(TASKS)
    page.goto(host.url)
    rows = page.locator("ol.jobs > li")
    rows.first.wait_for()

    def all_shown() -> None:
        while rows.count() < JOBS:
            before = rows.count()
            page.get_by_role("button", name="Show more").click()
            page.wait_for_function(
                "(n) => document.querySelectorAll('ol.jobs > li').length > n", arg=before
            )

    def scrolled() -> None:
        for _ in range(40):
            page.mouse.wheel(0, 2000)
            page.wait_for_timeout(50)

    def filtered() -> None:
        page.get_by_label("Name").fill("job 777")
        page.wait_for_function("() => document.querySelectorAll('ol.jobs > li').length === 1")

    told = [
        _row("all of them shown, a page of 50 at a time", page, all_shown),
        _row("scrolling through all of them", page, scrolled),
        _row("filtering them by name", page, filtered),
    ]
    page.context.close()
    return told


def _chart(browser: "Browser", host: Host, job_id: str) -> list[str]:
    page = browser.new_context().new_page()
    page.add_init_script(TASKS)

    def opened() -> None:
        page.goto(f"{host.url}/#/jobs/{job_id}")
        page.locator(".uplot canvas").first.wait_for()

    def zoomed() -> None:
        box = page.locator(".uplot .u-over").first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 40, steps=10)
        page.mouse.up()
        page.wait_for_timeout(500)

    told = [
        _row(f"opening a job with {POINTS:,} points, until its curve is there", page, opened),
        _row("zooming into a fifth of it", page, zoomed),
    ]
    page.context.close()
    return told


def _row(what: str, page: "Page", act: Callable[[], None]) -> str:
    if page.url.startswith("http"):
        page.evaluate("window.tasks.length = 0")
    began = time.perf_counter()
    act()
    seconds = time.perf_counter() - began
    page.wait_for_timeout(200)
    blocked = max(page.evaluate("window.tasks"), default=0)
    return f"| {what} | {1000 * seconds:,.0f} ms, blocked {blocked:.0f} ms |"
