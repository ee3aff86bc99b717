"""What a teacher knows, and which part of a gain that is: through the running service."""

import pytest

from tests.acceptance.conftest import Service, mlp

CONTROLS = ("label_smoothing", "cwtm", "permuted", "random_teacher")


def test_a_teacher_is_described_by_a_worker(service: Service, digits: str, teacher: str) -> None:
    address = f"/teachers/{teacher}/report?dataset={digits}&parameters=500"
    first = service.http.get(address)
    assert first.status_code == 202, first.text
    assert first.headers["location"] == address
    told = service.until(address, lambda it: it["state"] == "ready")
    assert (told["split"], told["examples"], told["target"]) == ("train", 1294, "label")
    curve = told["softness"]
    assert [one["entropy"] for one in curve] == sorted(one["entropy"] for one in curve)
    # An evaluation on the same data says the same of the same teacher.
    assert told["calibration"]["split"] == "test"
    asked = service.post("/evaluations", {"teacher": teacher, "dataset": digits, "split": "test"})
    done = service.until(f"/evaluations/{asked['id']}", lambda it: it["state"] == "succeeded")
    assert told["calibration"]["accuracy"] == pytest.approx(done["result"]["accuracy"], abs=1e-9)
    assert told["calibration"]["plain"]["ece"] == pytest.approx(done["result"]["ece"], abs=1e-6)
    assert sum(told["similarity"]["matrix"][3]) == pytest.approx(1, abs=1e-4)
    assert told["advice"]["share"] == pytest.approx(500 / 4810)
    low, high = told["advice"]["temperatures"]
    assert 1 <= low <= told["advice"]["first"] <= high <= 40
    for picture in told["pictures"]:
        assert service.http.get(picture["url"]).text.startswith("<svg")
    page = service.http.get(f"{address}&format=html")
    assert page.text.count("<svg") == len(told["pictures"]) == 4

    # Another teacher of the same content has the report at once.
    job = service.get(f"/teachers/{teacher}")["job"]
    again = service.post("/teachers", {"name": "again", "job": job})["id"]
    assert service.checked(f"/teachers/{again}")["state"] == "ready"
    assert service.http.get(f"/teachers/{again}/report?dataset={digits}").status_code == 200
    assert service.http.delete(f"/teachers/{again}").status_code == 204
    assert service.http.get(address).status_code == 200


def test_controls_divide_the_gain(service: Service, digits: str, teacher: str) -> None:
    job = service.post(
        "/jobs",
        {
            "teachers": [teacher],
            "dataset": digits,
            "student": {"network": mlp(8)},
            "method": {"name": "kd", "temperature": 3},
            "training": {"epochs": 10, "optimizer": {"name": "adam", "lr": 0.003}},
            "baseline": {"seeds": 3, "controls": [{"name": name} for name in CONTROLS]},
        },
    )["id"]
    ended = service.ended(job)
    assert ended["state"] == "succeeded", ended["error"]
    progress = ended["progress"]
    assert progress["stage"] == progress["stages"] == 3 * 6
    assert progress["fraction"] == 1
    keys = {one["key"] for one in service.get(f"/jobs/{job}/metrics")["series"]}
    for name in CONTROLS:
        assert {f"control/{name}/{k}/train/loss" for k in range(3)} <= keys
    report = service.get(f"/jobs/{job}/report")
    assert set(report["controls"]) == set(CONTROLS)
    parts = {part["of"]: part["accuracy"] for part in report["attribution"]["parts"]}
    gain = parts["permuted - baseline"] + parts["student - permuted"]
    assert gain == pytest.approx(report["attribution"]["gain"]["accuracy"])
    assert report["attribution"]["gain"]["accuracy"] == report["difference"]["accuracy"]
    assert "dark knowledge" in report["attribution"]["sentence"]
