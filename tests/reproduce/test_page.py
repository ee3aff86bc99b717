"""The page says what the records say."""

import xml.etree.ElementTree as ElementTree

from benchmarks.reproduce import page, records
from benchmarks.reproduce.__main__ import DOCS


def record(name: str, book, **fields) -> dict:
    here = {"machine": "m", "torch": "t", "precision": "fp32", "date": "2026-01-01", "commit": "c"}
    return {"key": book.key(name), "seconds": 10, "examples": 10_000, **here, **fields}


def test_the_page_is_made_from_the_records() -> None:
    """Run `python -m benchmarks.reproduce --render` after changing either."""
    for name, content in page.render(records.load(DOCS / "results.json")).items():
        assert (DOCS / name).read_text() == content


def test_errors_over_seeds_beside_the_paper() -> None:
    book = page.every_scale({})
    found = {
        f"a/kd-20/{k}": record(f"a/kd-20/{k}", book, errors=errors)
        for k, errors in enumerate((70, 80, 90))
    }
    text = page.render(found)["results.md"]
    assert (
        "| student, soft targets at T = 20 | 74 | 80.0 ± 10.0 | 70, 80, 90 | **short by 6.0** |"
        in text
    )
    assert "| student, 800-800, labels alone | 146 | not run yet |  |  |" in text
    svg = ElementTree.fromstring(page.render(found)[page.PICTURE])
    assert len(svg.findall(".//{*}circle")) == 3 + 1  # the seeds, and the paper's


def test_an_outdated_record_is_not_shown() -> None:
    book = page.every_scale({})
    found = {"a/plain/0": {**record("a/plain/0", book, errors=123), "key": "another"}}
    assert "123" not in page.render(found)["results.md"]


def test_a_method_with_its_interval() -> None:
    book = page.every_scale({})
    change = {"accuracy": 0.0123, "interval": [0.01, 0.015], "p": 0.001, "over": "seeds"}
    found = {
        "b/kd/0": record(
            "b/kd/0", book, errors=200, teacher_errors=100, difference=change, verdict="helped",
            seeds=[[0.98, 0.967], [0.982, 0.97]],
        )
    }  # fmt: skip
    text = page.render(found)["results.md"]
    assert (
        "| `kd` | 99.00 | 96.85 ± 0.21 | 98.10 ± 0.14 | +1.23 (+1.00 to +1.50) | helped | 10 |"
        in text
    )
    assert "| `dkd` | not run yet |" in text


def test_a_trial_is_never_taken_for_the_table() -> None:
    book = page.every_scale({"c@0.01/kd/0": {}})
    found = {"c@0.01/kd/0": record("c@0.01/kd/0", book, errors=90, examples=100)}
    text = page.render(found)["results.md"]
    table, trial = text.split("**Not the table: a trial at scale 0.01**")
    assert "| kd | 73.33 | not run yet |  |" in table
    assert "which is 500 train and 100 test images and 2 epochs" in trial
    assert "| kd | 10.00 | 10.00 |" in trial


def test_a_repaired_transfer_set_before_and_after() -> None:
    book = page.every_scale({})
    repair = {
        "bias": 3.4838,
        "before": {"errors": 1182, "errors_on_excluded": 101},
        "after": {"errors": 122, "errors_on_excluded": 29},
    }
    found = {
        f"a/no-3/{k}": record(f"a/no-3/{k}", book, errors=122, bias_repair=repair) for k in (0, 1)
    }
    assert (
        "| no 3 | 206 (133 on threes) | 1,182 (101), 1,182 (101) | 109 (14), bias 3.5 "
        "| 122 (29), 122 (29) | 3.5, 3.5 |" in page.render(found)["results.md"]
    )
