"""The pictures of the dashboard in docs/pictures: `python -m tests.browser.pictures`.

Real jobs on a service of its own: a teacher, a sweep, and a student with little data. Two minutes.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from tests.acceptance.conftest import Service, mlp, serve
from tests.browser.conftest import launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OUT = Path(__file__).parents[2] / "docs" / "pictures"
DESK = {"width": 1240, "height": 860}
TALL = {"width": 1240, "height": 1900}
PHONE = {"width": 390, "height": 844}
PATIENCE_S = 600.0


def main() -> None:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home, running(Path(home)) as service:
        ids = trained(service)
        url = str(service.http.base_url).rstrip("/")
        with sync_playwright() as playwright:
            browser = launched(playwright)
            for name, scheme, size, path in (
                ("job-light", "light", DESK, f"#/jobs/{ids['main']}"),
                ("job-dark", "dark", DESK, f"#/jobs/{ids['main']}"),
                ("job-phone", "light", PHONE, f"#/jobs/{ids['main']}"),
                ("jobs-light", "light", DESK, "#/jobs"),
                ("jobs-phone", "dark", PHONE, "#/jobs"),
                ("compare-light", "light", DESK, f"#/compare?sweep={ids['sweep']}"),
                ("compose-dark", "dark", DESK, f"#/new?from={ids['main']}"),
                ("teacher-light", "light", TALL, f"#/teachers/{ids['teacher']}"),
            ):
                page = opened(browser, url + "/" + path, scheme, size)
                if name.startswith("teacher"):
                    known = page.get_by_role("region", name="Dark knowledge")
                    known.get_by_label("On", exact=True).select_option(ids["digits"])
                    known.get_by_text(re.compile("^Try T")).wait_for()
                    page.wait_for_timeout(500)
                taken(page, name)
                page.context.close()
            page = opened(browser, f"{url}/#/jobs/{ids['live']}", "dark", DESK)
            page.wait_for_timeout(3000)
            taken(page, "live-dark")
            service.post(f"/jobs/{ids['live']}/cancel", {})
            browser.close()


def taken(page: "Page", name: str) -> None:
    page.screenshot(path=OUT / f"{name}.png")
    print(name, flush=True)


@contextmanager
def running(home: Path) -> Iterator[Service]:
    yield from serve(home, database="", broker="")


def trained(service: Service) -> dict[str, str]:
    source = {"kind": "builtin", "name": "digits"}
    digits = service.post("/datasets", {"name": "digits", "source": source})["id"]
    service.checked(f"/datasets/{digits}")
    body: dict[str, Any] = {
        "name": "digits, 256-256",
        "dataset": digits,
        "method": {"name": "supervised"},
        "student": {"network": {**mlp(256, 256), "dropout": 0.3}},
        "training": {"epochs": 30, "optimizer": {"name": "adam"}},
        "labels": {"team": "vision"},
    }
    job = service.post("/jobs", body)["id"]
    service.ended(job, PATIENCE_S)
    teacher = service.post("/teachers", {"name": "digits, 256-256", "job": job})["id"]
    service.checked(f"/teachers/{teacher}")
    body |= {
        "teachers": [teacher],
        "method": {"name": "kd"},
        "training": {"epochs": 40, "optimizer": {"name": "adam", "lr": 0.005}},
    }
    student = {"network": mlp(12)}
    grid = {"method.temperature": [1, 2, 4, 8], "method.alpha": [0.5, 0.9, 1.0]}
    sweep = service.post(
        "/sweeps",
        {
            "name": "temperature by alpha",
            "job": {**body, "name": "digits, 12", "student": student},
            "grid": grid,
        },
    )["id"]
    little = {
        **body,
        "name": "digits, a fifth of the data",
        "student": {"network": mlp(32)},
        "method": {"name": "kd", "temperature": 4, "alpha": 0.9},
        "training": {"epochs": 60, "batch_size": 32, "optimizer": {"name": "adam", "lr": 0.003}},
        "transfer": {"fraction": 0.2},
        "baseline": {"seeds": 5},
        "labels": {"team": "vision", "owner": "me"},
    }
    main = service.post("/jobs", little)["id"]
    service.ended(main, PATIENCE_S)
    service.until(f"/sweeps/{sweep}", lambda it: it["is_terminal"], PATIENCE_S)
    paused = service.post("/jobs", {**body, "name": "put aside", "student": student})["id"]
    service.post(f"/jobs/{paused}/pause", {})
    long = {**body, "name": "a long one", "student": student, "training": {"epochs": 3000}}
    live = service.post("/jobs", long)["id"]
    service.until(f"/jobs/{live}", lambda it: it["progress"]["fraction"] > 0.05, PATIENCE_S)
    return {"main": main, "sweep": sweep, "live": live, "teacher": teacher, "digits": digits}


def opened(browser: "Browser", address: str, scheme: Any, size: Any) -> "Page":
    page = browser.new_context(color_scheme=scheme, viewport=size).new_page()
    page.goto(address)
    page.wait_for_selector("main h1")
    page.wait_for_timeout(1500)
    return page


if __name__ == "__main__":
    main()
