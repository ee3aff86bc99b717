"""The dashboard's files: open to all, whole, and of one version; the page trusts nothing else."""

import re
from html.parser import HTMLParser
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from app.settings import Settings
from app.web.assets import dashboard
from tests.api.callers import client, guarded
from tests.api.helpers import assert_problem

IMPORT = re.compile(r"""(?:\bfrom\s+|\bimport\s*\(?\s*)["'](\.[^"']+)["']""")
URL = re.compile(r"""url\(["']?([^"')]+)""")
ELSEWHERE = re.compile(r"(?:https?:)?//[a-z0-9]", re.IGNORECASE)
NAMESPACE = "http://www.w3.org/2000/svg"


class References(HTMLParser):
    """What a page loads, and what it brings itself that a strict policy would not run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self._script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._script = tag == "script"
        if tag in ("link", "script"):
            self.loaded.append(given.get("href") or given.get("src") or "")
        self.inline += [name for name in given if name == "style" or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.inline.append(data)


@pytest.fixture
def page(api: httpx.Client) -> httpx.Response:
    return api.get("/")


def test_the_page_runs_nothing_but_its_own_files(page: httpx.Response) -> None:
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert References(page.text).inline == []


def test_what_the_page_names_is_there_and_kept_for_ever(
    api: httpx.Client, page: httpx.Response
) -> None:
    names = References(page.text).loaded
    assert len(names) >= 6
    for name in names:
        answer = api.get(urljoin("/", name))
        assert answer.status_code == 200, name
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        head = api.head(urljoin("/", name))
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == answer.headers["content-length"]


def test_the_page_is_asked_for_again_but_not_sent_again(
    api: httpx.Client, page: httpx.Response
) -> None:
    assert page.headers["cache-control"] == "no-cache"
    again = api.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_files_are_packed_for_those_who_take_that(api: httpx.Client, page: httpx.Response) -> None:
    address = next(name for name in References(page.text).loaded if name.endswith("style.css"))
    plain = api.get(f"/{address}", headers={"Accept-Encoding": "identity"})
    packed = api.get(f"/{address}", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.content == packed.content  # the client has unpacked it
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "path",
    ["/static/0/main.js", "/static/{v}/nothing.js", "/static/{v}/../endpoints.py", "/static/{v}/"],
)
def test_there_is_nothing_else(api: httpx.Client, path: str) -> None:
    version = dashboard().version
    answer = api.build_request("GET", "/")
    answer.url = httpx.URL(f"{api.base_url}".rstrip("/") + path.format(v=version))
    assert_problem(api.send(answer), 404, "not_found")


SOURCES = [name for name in dashboard().files if name.endswith((".js", ".css"))]


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_names_only_others_that_are_there(name: str) -> None:
    files = dashboard().files
    text = files[name].content.decode()
    named = IMPORT.findall(text) if name.endswith(".js") else URL.findall(text)
    for other in named:
        assert urljoin(name, other) in files, other
    if not name.startswith("vendor/"):
        assert not ELSEWHERE.search(text.replace(NAMESPACE, "")), "a reference to elsewhere"
        assert "innerHTML" not in text


def test_what_others_made_is_told_with_its_licence() -> None:
    files = dashboard().files
    told = files["vendor/README.md"].content.decode()
    folders = {PurePosixPath(name).parts[1] for name in files if name.startswith("vendor/")}
    for folder in folders - {"README.md"}:
        assert f"`{folder}/" in told
        assert any(name.startswith(f"vendor/{folder}/LICENSE") for name in files)


def test_it_is_open_where_keys_are_asked_for(settings: Settings) -> None:
    """It asks for one itself, and shows nothing without."""
    with guarded(settings) as address, client(address, None) as http:
        page = http.get("/")
        assert page.status_code == 200
        assert http.get(f"/{References(page.text).loaded[0]}").status_code == 200
        assert http.get("/jobs").status_code == 401
        assert http.get(httpx.URL(address).copy_with(raw_path=b"//jobs")).status_code == 401
        assert http.post("/").status_code == 405


def test_it_is_no_part_of_the_interface(api: httpx.Client) -> None:
    paths: dict[str, Any] = api.get("/openapi.json").json()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/static")]
