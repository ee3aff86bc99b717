"""Dashboard and alerts ask for what /metrics really tells, by its real names and labels."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app import tallies
from app.db import Database, now_plus
from tests.api.helpers import Rows

FOLDER = Path(__file__).parents[2] / "docs" / "operations"
NAME = re.compile(r"\b(?:stillhouse|process)_[a-z_]+\b")
LABELS = re.compile(r"\b((?:stillhouse|process)_[a-z_]+)\{([^}]*)\}")
BY = re.compile(r"by \(([^)]+)\)")


def dashboard() -> dict[str, Any]:
    return json.loads((FOLDER / "grafana.json").read_text())


def queries() -> list[str]:
    panels = [target["expr"] for one in dashboard()["panels"] for target in one.get("targets", ())]
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return panels + [rule["expr"] for group in groups for rule in group["rules"]]


@pytest.fixture
def told(api: httpx.Client, rows: Rows, database: Database) -> dict[str, set[str]]:
    """Each sample's labels by its name, of a service in which there is one of everything."""
    rows.job(spec={"priority": "normal"})
    rows.job(spec={"priority": "normal"}, state="running", lease_until=now_plus(30))
    rows.worker()
    rows.dataset(state="checking")
    with database.transaction() as session:
        tallies.count(session, "sweeps")
    api.get("/methods")
    samples: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(api.get("/metrics").text):
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    return samples


def test_every_query_names_a_metric_that_is_there(told: dict[str, set[str]]) -> None:
    assert len(queries()) > 25
    for query in queries():
        names = set(NAME.findall(query))
        assert names, query
        assert names <= told.keys(), query


def test_every_query_names_labels_that_are_there(told: dict[str, set[str]]) -> None:
    for query in queries():
        for name, matchers in LABELS.findall(query):
            used = set(re.findall(r"(\w+)\s*=", matchers))
            assert used <= told[name], query
        here = set.union(*(told[name] for name in NAME.findall(query))) | {"instance"}
        for labels in BY.findall(query):
            assert set(re.split(r",\s*", labels)) <= here, query


def test_every_metric_of_ours_is_shown(told: dict[str, set[str]]) -> None:
    shown = {name for query in queries() for name in NAME.findall(query)}
    ours = {name for name in told if name.startswith("stillhouse_")}
    assert ours - shown <= {"stillhouse_sweeps_total"}, "the age of the last one is shown"


def test_the_dashboard_is_whole() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        legends = [target["legendFormat"] for target in panel.get("targets", ())]
        for target, legend in zip(panel.get("targets", ()), legends, strict=True):
            for label in re.findall(r"\{\{(\w+)\}\}", legend):
                assert label == "instance" or re.search(rf"by \([^)]*\b{label}\b", target["expr"])
