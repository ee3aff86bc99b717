"""What goes wrong on the way, and what the client makes of it."""

import hashlib
import pickle
import time
from pathlib import Path

import pytest

from stillhouse import Job, Retries, Stillhouse, errors
from stillhouse._sync.files import File
from tests.acceptance.conftest import mlp
from tests.client.conftest import KEY, QUICK
from tests.client.line import Line, changed, cut, garbled, page, refused, swallowed

STUDENT = "/student"


def test_a_request_is_sent_again_until_it_passes(line: Line, over_line: Stillhouse) -> None:
    line.spoil("GET", "/methods", refused(503), page(502), cut(0))
    assert over_line.methods()
    assert len(line.asked("GET", "/methods")) == 4


def test_retry_after_is_waited_for(line: Line, over_line: Stillhouse) -> None:
    line.spoil("GET", "/methods", refused(429, "rate_limited", retry_after=1))
    began = time.monotonic()
    assert over_line.methods()
    assert 1.0 <= time.monotonic() - began < 3


def test_nobody_waits_for_an_hour_unasked(line: Line, over_line: Stillhouse) -> None:
    line.spoil("GET", "/methods", refused(429, "rate_limited", retry_after=3600))
    with pytest.raises(errors.TooMany) as caught:
        over_line.methods()
    assert (caught.value.retry_after, caught.value.code) == (3600, "rate_limited")


def test_in_the_end_it_gives_up(line: Line, over_line: Stillhouse) -> None:
    line.spoil("GET", "/methods", *[refused(503)] * 9)
    with pytest.raises(errors.Unavailable, match="Not now"):
        over_line.methods()
    assert len(line.asked("GET", "/methods")) == QUICK.attempts


def test_a_job_whose_answer_was_lost_is_made_once(
    line: Line, over_line: Stillhouse, job: Job
) -> None:
    before = len(list(over_line.jobs.list()))
    line.spoil("POST", "/clone", swallowed, swallowed)
    again = over_line.jobs.get(job.id).clone(overrides={"training": {"epochs": 10_000}})
    keys = {one.headers["idempotency-key"] for one in line.asked("POST", "/clone")}
    assert (len(keys), len(line.asked("POST", "/clone"))) == (1, 3)
    assert len(list(over_line.jobs.list())) == before + 1
    again.cancel()


def test_an_upload_whose_answer_was_lost_is_kept_once(line: Line, over_line: Stillhouse) -> None:
    content = b"x" * 3_000_000
    line.spoil("POST", "/files", swallowed)
    file = over_line.files.upload(content, name="x.bin")
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert len({one.headers["idempotency-key"] for one in line.asked("POST", "/files")}) == 1


def test_an_upload_in_parts_goes_on_where_it_broke_off(line: Line, over_line: Stillhouse) -> None:
    content = bytes(range(251)) * 180_000  # three parts
    line.spoil("PUT", "/parts/2", *[refused(503)] * 4)
    done: list[tuple[int, int]] = []

    def upload() -> File:
        return over_line.files.upload(
            content, name="x.bin", parts_from=1, progress=lambda *so_far: done.append(so_far)
        )

    with pytest.raises(errors.ServerFailed):
        upload()
    assert not line.asked("POST", "/complete")
    arrived = {one.path[-1] for one in line.asked("PUT", "/parts/")} - {"2"}
    line.spoil("PUT", "/parts/2", swallowed)
    file = upload()
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert done[-1] == (len(content), len(content))
    assert len([one for one in line.asked("POST", "/uploads") if one.path == "/uploads"]) == 1
    for part in arrived:
        assert len(line.asked("PUT", f"/parts/{part}")) == 1, "it was there already"


def test_a_part_that_changed_on_the_way_is_refused(line: Line, over_line: Stillhouse) -> None:
    line.spoil("PUT", "/parts/1", garbled)
    with pytest.raises(errors.Problem, match="SHA-256"):
        over_line.files.upload(b"z" * 100_000, name="z.bin", parts_from=1)


def test_a_download_goes_on_where_it_broke_off(
    line: Line, over_line: Stillhouse, folder: Path
) -> None:
    content = bytes(range(256)) * 10_000
    file = over_line.files.upload(content, name="x.bin")
    line.spoil("GET", "/content", cut(1_000_000), cut(500_000))
    assert file.download().read_bytes() == content
    got = line.asked("GET", "/content")
    assert [one.headers.get("range") for one in got[1:]] == ["bytes=1000000-", "bytes=1500000-"]
    assert sum(one.sent for one in got) == len(content)
    assert [it.name for it in folder.iterdir()] == ["x.bin"]


def test_another_process_finishes_a_download(
    line: Line, over_line: Stillhouse, folder: Path
) -> None:
    content = bytes(range(256)) * 10_000
    file = over_line.files.upload(content, name="x.bin")
    with Stillhouse(line.url, KEY, retries=Retries(attempts=1)) as hasty:
        line.spoil("GET", "/content", cut(700_000))
        with pytest.raises(errors.Unreachable, match="ended after 700,000 of 2,560,000"):
            hasty.files.get(file.id).download()
    assert not Path("x.bin").exists()
    assert over_line.files.get(file.id).download().read_bytes() == content
    (_, rest) = line.asked("GET", "/content")
    assert (rest.headers["range"], rest.sent) == ("bytes=700000-", len(content) - 700_000)
    assert rest.headers["if-range"] == f'"{file.sha256}"'
    before = len(line.asked("GET", "/content"))
    over_line.files.get(file.id).download()
    assert len(line.asked("GET", "/content")) == before, "it was there already"


def test_changed_bytes_are_not_kept(
    line: Line, over_line: Stillhouse, job: Job, folder: Path
) -> None:
    mine = over_line.jobs.get(job.id)
    Path("student.safetensors").write_bytes(b"an older one")
    line.spoil("GET", STUDENT, changed)
    with pytest.raises(errors.ChecksumMismatch):
        mine.download()
    assert [it.name for it in folder.iterdir()] == ["student.safetensors"]
    assert Path("student.safetensors").read_bytes() == b"an older one"
    mine.download()
    assert len(Path("student.safetensors").read_bytes()) > 1000


def test_waiting_outlives_a_service_that_is_away(
    line: Line, over_line: Stillhouse, job: Job
) -> None:
    mine = over_line.jobs.get(job.id)
    mine.__dict__["is_terminal"] = False
    line.spoil("GET", f"/jobs/{job.id}", *[page(502)] * QUICK.attempts)
    assert mine.wait(30).state == "succeeded"


def test_problems_carry_all_that_was_told(still: Stillhouse, digits: str) -> None:
    with pytest.raises(errors.Unprocessable) as caught:
        still.jobs.create(dataset=digits, student={"network": {**mlp(8), "hiden": [3]}})
    problem = caught.value
    assert (problem.status_code, problem.code) == (422, "validation_failed")
    assert problem.pointers == ("/student/network/hiden",)
    assert problem.errors[0].code == "extra_forbidden"
    assert problem.request_id
    assert not problem.retryable
    assert pickle.loads(pickle.dumps(problem)).pointers == problem.pointers


def test_a_wrong_key_says_what_to_do(url: str) -> None:
    stranger = Stillhouse(url, "sh_" + "x" * 30)
    with pytest.raises(errors.Unauthorized) as caught:
        stranger.methods()
    assert "stillhouse login" in (caught.value.hint or "")


def test_a_rejected_teacher_tells_why(still: Stillhouse) -> None:
    import numpy as np
    from safetensors.numpy import save

    other = save({"layers.0.weight": np.zeros((3, 3), np.float32)})
    file = still.files.upload(other, name="other.safetensors")
    wrong = still.teachers.create(name="wrong", file=file.id, network=mlp(8))
    with pytest.raises(errors.Rejected, match=wrong.id):
        wrong.wait(60)


def test_waiting_has_an_end(still: Stillhouse, job: Job) -> None:
    long = job.clone(overrides={"training": {"epochs": 5000}})
    with pytest.raises(errors.StillRunning):
        long.wait(0.5)
    long.cancel()


def test_nobody_there() -> None:
    nowhere = Stillhouse("127.0.0.1:9", retries=QUICK)
    with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:9") as caught:
        nowhere.methods()
    assert "STILLHOUSE_URL" in (caught.value.hint or "")
    with Stillhouse("ftp://127.0.0.1", retries=QUICK) as odd, pytest.raises(errors.Unreachable):
        odd.methods()


def test_somebody_else_there(line: Line, over_line: Stillhouse) -> None:
    line.spoil("GET", "/methods", page(404), page(200))
    for _ in range(2):
        with pytest.raises(errors.UnexpectedAnswer, match="does not answer like Stillhouse"):
            over_line.methods()
