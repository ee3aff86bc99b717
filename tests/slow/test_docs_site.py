"""The site of docs/: whole, from the code as it is, and nothing in it comes from elsewhere."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
import yaml

import stillhouse
from stillhouse.cli.main import app as command_line

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
NO_NET = "http://127.0.0.1:9"


class Fetched(HTMLParser):
    """What a browser would load for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        # Neighbours and the page's own address are named, and not loaded.
        if tag in FETCHED and told.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(told.get(FETCHED[tag]) or "")


def build(folder: Path, config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", folder],
        cwd=ROOT,
        env=os.environ | {"http_proxy": NO_NET, "https_proxy": NO_NET, "no_proxy": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    done = build(folder, ROOT / "mkdocs.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"^WARNING", done.stdout + done.stderr, re.MULTILINE)
    assert "excluded" not in done.stderr, "a link leads to a page that is not built"
    return folder


def text(site: Path, page: str) -> str:
    return (site / page / "index.html").read_text()


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text())
        assert len(parser.found) > 2
        for address in parser.found:
            assert not re.match(r"[a-z]+:|//", address) or address.startswith("data:"), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text()), sheet


def test_every_page_can_be_reached(site: Path) -> None:
    start = (site / "index.html").read_text()
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = re.findall(r"[\w/-]+\.md", json.dumps(nav))
    assert len(pages) > 15
    for page in pages:
        address = re.sub(r"(index|README)?\.md$", "", page).rstrip("/")
        assert (site / address / "index.html").exists(), page
        assert f'href="{address + "/" if address else "."}"' in start, page
    decisions = {path.stem for path in (ROOT / "docs" / "decisions").glob("0*.md")}
    listed = text(site, "decisions")
    assert {one for one in decisions if f'href="{one}/"' in listed} == decisions


def test_the_references_are_whole(site: Path) -> None:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text())
    api, python, cli = (text(site, f"reference/{one}") for one in ("api", "python", "cli"))
    operations = [one for verbs in document["paths"].values() for one in verbs.values()]
    assert len(operations) > 40
    for operation in operations:
        assert f"<code>{operation['operationId']}</code>" in api
    for schema in document["components"]["schemas"]:
        assert f'<h3 id="{schema.lower()}"' in api
    for method in ("create", "validate", "list"):
        assert f'id="jobs{method}"' in python
    for name in dir(stillhouse.Job):
        module = getattr(getattr(stillhouse.Job, name), "__module__", None) or ""
        if not name.startswith("_") and module.startswith("stillhouse"):
            assert f'id="job{name}"' in python, name
    root = typer.main.get_command(command_line)
    for name, command in root.commands.items():
        assert f"stillhouse {name}" in cli
        for inner in getattr(command, "commands", {}):
            assert f"stillhouse {name} {inner}" in cli


@pytest.mark.parametrize(
    "broken",
    ["[gone](papers.md#no-such-place)", "[gone](no-such-page.md)", "[gone](../no/such.py)"],
)
def test_a_link_that_leads_nowhere_fails_the_build(broken: str, tmp_path: Path) -> None:
    """Of a page beside the others: what holds the links is on."""
    for name in ("docs", "README.md", "CHANGELOG.md", "workers", "app", "benchmarks", "client"):
        if name != "docs":
            (tmp_path / name).symlink_to(ROOT / name)
    copied = subprocess.run(["cp", "-r", ROOT / "docs", ROOT / "mkdocs.yml", tmp_path], check=False)
    assert copied.returncode == 0
    page = tmp_path / "docs" / "concepts.md"
    page.write_text(page.read_text() + f"\n{broken}\n")
    done = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert done.returncode != 0
    assert "no-such" in done.stderr or "no/such" in done.stderr
