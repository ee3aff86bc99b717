"""A real Chromium, driven by playwright. Without either, these tests are skipped and say so."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.conftest import Service, digits, serve, teacher

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

__all__ = ["digits", "teacher"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# axe-core 4.14.1 (MPL 2.0), dist/axe.min.js of the npm registry, as it is.
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
WATCH = """
    window.shifted = 0;
    new PerformanceObserver((list) => {
      for (const one of list.getEntries()) if (!one.hadRecentInput) window.shifted += one.value;
    }).observe({ type: "layout-shift", buffered: true });
"""


def chromium() -> str | None:
    given = os.environ.get("STILLHOUSE_TEST_CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


def launched(playwright: "Playwright") -> "Browser":
    arguments = ["--disable-gpu", "--disable-background-networking"]
    if os.geteuid() == 0:  # its sandbox does not work as root
        arguments.append("--no-sandbox")
    return playwright.chromium.launch(executable_path=chromium(), args=arguments)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if chromium() is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    yield from serve(tmp_path_factory.mktemp("home"), database="", broker="")


Open = Callable[..., "Page"]


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[Open]:
    """Opens pages, and sees that nothing went wrong in any: no error, no warning of the policy, and
    nothing asked of anybody else."""
    contexts = []
    wrong: list[str] = []

    def opened(address: str, *, width: int = 1280, scheme: str = "light", **more: Any) -> "Page":
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme, **more
        )
        contexts.append(context)
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.add_init_script(WATCH)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if _bad(said) else None)
        own = "/".join(address.split("/")[:3])
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((own, "data:", "blob:"))
                else wrong.append(f"asks {request.url}")
            ),
        )
        page.goto(address)
        page.wait_for_selector("main h1")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def _bad(said: Any) -> bool:
    """Answers that are no success are logged by the browser itself; pages know what to do then."""
    return said.type in ("error", "warning") and "Failed to load resource" not in said.text


def axe(page: "Page") -> list[str]:
    """What axe has to say against a page, as it is now."""
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": AXE.read_text()})  # no policy holds that back
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{one['id']}: {node['html'][:200]}" for one in found["violations"] for node in one["nodes"]
    ]
