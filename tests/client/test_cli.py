"""The command line against the real service, as a person would use it."""

import json
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from stillhouse import Job, Stillhouse, Teacher
from tests.acceptance.conftest import mlp
from tests.client.command import COMMAND, Command, alone
from tests.client.conftest import KEY
from tests.client.line import Line, changed, cut

QUICK = ("--set", "training.epochs=2")


def test_from_nothing_to_a_student(stillhouse: Command, folder: Path) -> None:
    stillhouse("init", "teacher.yaml", "--teacher")
    stillhouse("jobs", "submit", "teacher.yaml", "--watch", *QUICK)
    stillhouse("init")
    watched = stillhouse("jobs", "submit", "job.yaml", "--watch", *QUICK)
    assert "data set dst_" in watched.err
    assert "is there already" in watched.err
    assert "succeeded" in watched.out
    assert "kd (temperature 4.0, alpha 0.9" in watched.out
    assert "null" not in watched.out
    job = stillhouse("jobs", "list", "--limit", 1, "--json").json[0]["id"]
    verdict = stillhouse("report", job, "--json").json["sentence"]
    assert " ".join(watched.out.split()).endswith(" ".join(verdict.split()))
    assert watched.err.endswith(
        f"\nnext: stillhouse report {job}\n      stillhouse download {job}\n"
    )
    again = stillhouse("jobs", "submit", "job.yaml", "--quiet", *QUICK, "--name", "again")
    assert "teacher tch_" in again.err
    stillhouse("jobs", "watch", "again", "--json")

    job = again.out.strip()
    assert "without the teacher" in stillhouse("report", job).out
    assert stillhouse("report", job, "--json").json["student"]["examples"] > 0
    assert stillhouse("download", job).out.strip() == "student.safetensors"
    assert load_file("student.safetensors")["layers.0.weight"].shape == (12, 64)
    assert "network.json" in stillhouse("download", job, "--list").out


def test_what_init_writes_is_a_job_with_nothing_to_remark(
    stillhouse: Command, teacher_job: Job, folder: Path
) -> None:
    stillhouse("init")
    job = Path("job.yaml").read_text().replace("job: digits teacher", f"job: {teacher_job.id}")
    Path("job.yaml").write_text(job)
    assert "right as far" in stillhouse("jobs", "submit", "job.yaml", "--dry-run").out
    assert "--force" in stillhouse("init", code=2).err


def test_curves_are_summed_up_drawn_and_written(
    stillhouse: Command, job: Job, folder: Path
) -> None:
    summed = stillhouse("metrics", job.id).out
    assert "validation/accuracy" in summed
    drawn = stillhouse(
        "metrics", job.id, "--plot", "--keys", "train/loss,baseline/0/train/loss"
    ).out
    assert re.search("[\u2801-\u28ff]{3}", drawn)
    assert "━ student" in drawn
    assert "━ baseline" in drawn
    told = stillhouse("metrics", job.id, "--keys", "validation/accuracy", "--json").json
    assert len(told["series"][0]["y"]) == 5
    stillhouse("metrics", job.id, "--out", "curves.csv")
    assert Path("curves.csv").read_text().startswith("key,")
    wrong = stillhouse("metrics", job.id, "--keys", "train/los", code=2)
    assert "Did you mean train/loss?" in wrong.err
    wrong = stillhouse("metrics", job.id, "--keys", "x", "--out", "x.csv", code=2)
    assert f"{job.id} has no curve x." in wrong.err
    assert "validation/accuracy" in wrong.err
    usual = stillhouse("metrics", job.id, "--plot").out
    charts = re.findall(r"^(\S+/\S+)", usual, re.MULTILINE)
    assert charts == ["validation/accuracy", "train/loss"]
    assert "━ teacher" in usual


def test_lists_and_details(
    stillhouse: Command, job: Job, teacher: Teacher, digits: str, folder: Path
) -> None:
    assert job.id in stillhouse("jobs", "list", "--label", "team=tests").out
    labelled = stillhouse("jobs", "list", "--label", "team=tests", "--json").json
    assert job.id in [one["id"] for one in labelled]
    assert all(one["labels"] == {"team": "tests"} for one in labelled)
    assert stillhouse("jobs", "list", "--label", "team=none", "--json").json == []
    assert stillhouse("jobs", "show", job.id, "--json").json["state"] == "succeeded"
    assert "digits 12" in stillhouse("jobs", "show", "digits 12").out
    assert "claimed by" in stillhouse("jobs", "events", job.id).out
    assert stillhouse("jobs", "events", job.id, "--json").json[0]["to_state"] == "queued"
    assert teacher.id in stillhouse("teachers", "list").out
    assert "activations.0" in stillhouse("teachers", "show", teacher.id).out
    assert digits in stillhouse("datasets", "list").out
    assert stillhouse("datasets", "show", digits, "--json").json["classes"] == 10
    assert "arXiv" in stillhouse("methods").out
    assert "temperature" in stillhouse("methods", "kd").out
    assert "Did you mean fitnets?" in stillhouse("methods", "fitnet", code=2).err
    assert "hidden" in stillhouse("networks", "mlp").out


def test_what_a_teacher_knows(stillhouse: Command, teacher: Teacher, digits: str) -> None:
    asked = ("teachers", "report", teacher.id, "--dataset", digits, "--parameters", "500")
    told = stillhouse(*asked, "--json").json
    assert told["state"] == "ready"
    shown = " ".join(stillhouse(*asked).out.split())
    low, high = told["advice"]["temperatures"]
    assert f"Try T {low:g} to {high:g}" in shown
    assert "A student of 500 parameters has" in shown
    assert "advice, not a finding" in shown
    softest = told["softness"][-1]
    assert f"40 {softest['entropy']:.4f} {softest['entropy_share']:.1%}" in shown
    pair = told["similarity"]["confused"][0]
    assert f"{pair['classes'][0]} {pair['classes'][1]} {pair['similarity']:.1%}" in shown
    assert f"calibration error {told['calibration']['plain']['ece']:.4f}" in shown
    absent = stillhouse("teachers", "report", "tch_none", "--dataset", digits, code=5)
    assert "There is no teacher tch_none" in absent.err
    wrong = stillhouse("teachers", "report", teacher.id, "--dataset", "dst_none", code=5)
    assert "There is no data set dst_none" in wrong.err
    assert "`stillhouse datasets list`" in wrong.err
    by_name = stillhouse("teachers", "report", "alone", "--dataset", "digits", "--json", code=5)
    assert "no teacher with the id or name" in by_name.err


def test_a_name_serves_for_an_id_where_it_is_the_only_one(
    stillhouse: Command, still: Stillhouse, teacher_job: Job
) -> None:
    source = {"kind": "builtin", "name": "digits"}
    dataset = still.datasets.create(name="by name", source=source).wait(60)
    made = [still.teachers.create(name="by name", job=teacher_job.id).wait(60) for _ in range(2)]
    several = stillhouse("teachers", "show", "by name", code=2).err
    assert "2 teachers are called 'by name'. Say which one by its id:" in several
    assert several.index(made[1].id) < several.index(made[0].id), "newest first"
    assert "ready, made " in several
    stillhouse("teachers", "rm", "by name", code=2)
    assert made[0].id in stillhouse("teachers", "rm", made[0].id, "--json").out
    assert made[1].id in stillhouse("teachers", "show", "by name").out
    told = stillhouse("teachers", "report", "by name", "--dataset", "by name", "--json").json
    assert told["state"] == "ready"
    assert dataset.id in stillhouse("datasets", "show", "by name").out
    for kind, one in (("teachers", made[1].id), ("datasets", dataset.id)):
        assert one in stillhouse(kind, "rm", "by name", "--json").out


def test_of_jobs_with_one_name_the_newest_is_looked_at_and_none_is_ended(
    stillhouse: Command, teacher_job: Job
) -> None:
    changes = {"name": "of two", "training": {"epochs": 1}}
    made = [teacher_job.clone(overrides=changes).wait(60) for _ in range(2)]
    shown = stillhouse("jobs", "show", "of two")
    assert made[1].id in shown.out
    assert f"2 jobs are called 'of two': this is the newest, {made[1].id}, made " in shown.err
    for verb in ("rm", "cancel"):
        refused = stillhouse("jobs", verb, "of two", code=2).err
        assert made[0].id in refused
        assert made[1].id in refused
    stillhouse("jobs", "rm", made[0].id)
    stillhouse("jobs", "rm", "of two")


def test_a_list_says_that_it_goes_on(stillhouse: Command, job: Job, teacher: Teacher) -> None:
    note = "1 newest; --limit N or --all for more"
    part = stillhouse("jobs", "list", "--limit", 1, "--json")
    assert (len(part.json), note in part.err) == (1, True)
    whole = stillhouse("jobs", "list", "--all", "--json")
    assert (job.id in whole.out, whole.err) == (True, "")
    assert note not in stillhouse("jobs", "list", "--limit", 1000).err


def test_the_parts_of_a_gain(
    stillhouse: Command, still: Stillhouse, teacher: Teacher, digits: str
) -> None:
    job = still.jobs.create(
        teachers=[teacher.id],
        dataset=digits,
        student={"network": mlp(8)},
        training={"epochs": 1},
        baseline={"controls": [{"name": "cwtm"}, {"name": "permuted"}]},
    ).wait(120)
    report = job.report()
    shown = " ".join(stillhouse("report", job.id).out.split())
    assert "teacher student baseline cwtm permuted" in shown
    assert f"{report['controls']['permuted']['accuracy']:.2%}" in shown
    assert report["attribution"]["sentence"] in shown


def test_jobs_are_steered(stillhouse: Command, job: Job, folder: Path) -> None:
    made = stillhouse(
        "jobs", "clone", job.id, "--set", "training.epochs=5000", "--quiet"
    ).out.strip()
    stillhouse("jobs", "pause", made)
    for _ in range(200):
        if stillhouse("jobs", "show", made, "--json").json["state"] == "paused":
            break
        time.sleep(0.05)
    assert "is queued" in stillhouse("jobs", "resume", made).out
    refused = stillhouse("download", made, code=6)
    assert "stillhouse jobs watch" in refused.err
    stillhouse("jobs", "cancel", made)
    watched = stillhouse("jobs", "watch", made, code=3)
    assert "was cancelled" in watched.err
    stillhouse("jobs", "rm", made)
    assert f"There is no job {made}" in stillhouse("jobs", "show", made, code=5).err


def test_ctrl_c_ends_the_watching_and_not_the_job(
    stillhouse: Command, still: Stillhouse, job: Job, folder: Path
) -> None:
    made = job.clone(overrides={"training": {"epochs": 5000}})
    watching = subprocess.Popen(
        [*COMMAND, "jobs", "watch", made.id],
        stderr=subprocess.PIPE,
        text=True,
        # What runs in a shell's background has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert watching.stderr
    try:
        assert any("running" in line for line in watching.stderr)
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=60)
        assert watching.returncode == 130
        assert f"stillhouse jobs watch {made.id}" in err
        assert not made.refresh().is_terminal
    finally:
        made.cancel()  # or the tests after this one would wait for it


def test_a_sweep_compares_its_jobs(
    stillhouse: Command, still: Stillhouse, teacher: Teacher, digits: str, folder: Path
) -> None:
    job = {
        "name": "hot or not",
        "teachers": [teacher.id],
        "dataset": digits,
        "student": {"network": {"family": "mlp", "inputs": 64, "hidden": [8]}},
        "training": {"epochs": 2},
    }
    Path("job.json").write_text(json.dumps(job))
    ran = stillhouse("sweep", "run", "job.json", "--grid", "method.temperature=1,4", "--json").json
    rows = ran["results"]
    assert [one["parameters"] for one in rows] == [
        {"method.temperature": 1},
        {"method.temperature": 4},
    ]
    assert {one["state"] for one in rows} == {"succeeded"}
    assert ran["best"]["value"] == max(one["validation"]["accuracy"] for one in rows)
    shown = stillhouse("sweep", "show", "hot or not").out
    assert f"best: {ran['best']['job']}" in shown
    assert "method.temperature" in shown
    assert ran["id"] in stillhouse("sweep", "list").out
    listed = {one.id for one in still.sweeps.get(ran["id"]).list_jobs()}
    assert listed == {one["job"] for one in rows}
    before = len(stillhouse("jobs", "list", "--json", "--limit", 200).json)
    wrong = stillhouse("sweep", "run", "job.json", "--grid", "method.alpha=0.5,2", code=2)
    assert "method.alpha" in wrong.err
    assert "command line" in wrong.err
    odd = stillhouse("sweep", "run", "job.json", "--grid", "method.alfa=0.5,2", code=2)
    assert "Did you mean alpha?" in odd.err
    much = stillhouse("sweep", "run", "job.json", "--grid", "seed=1,2,3", "--max-jobs", 2, code=2)
    assert "3 points" in much.err
    assert len(stillhouse("jobs", "list", "--json", "--limit", 200).json) == before
    long = ["--grid", "training.epochs=4000,5000", "--no-wait", "--json"]
    going = stillhouse("sweep", "run", "job.json", *long).json["id"]
    assert "cancel" in stillhouse("sweep", "cancel", going).out
    assert still.sweeps.get(going).wait(60).state == "cancelled"


def test_login_stores_a_key_for_its_owner_alone(
    url: str, nothing_stored: Path, folder: Path
) -> None:
    wrong = alone("login", "--url", url, "--key-stdin", text="sh_" + "x" * 30)
    assert wrong.returncode == 4
    assert "Nothing was stored" in wrong.stderr
    assert not nothing_stored.exists()

    assert alone("login", "--url", url, "--key-stdin", text=KEY).returncode == 0
    stored = nothing_stored / "config.json"
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert alone("jobs", "list").returncode == 0
    assert alone("jobs", "list", STILLHOUSE_KEY="sh_" + "x" * 30).returncode == 4
    other = alone("jobs", "list", STILLHOUSE_URL="http://127.0.0.1:9")
    assert (other.returncode, KEY in other.stderr) == (7, False)
    assert alone("logout").returncode == 0
    refused = alone("jobs", "list")
    assert refused.returncode == 4
    assert "stillhouse login" in refused.stderr


@pytest.mark.parametrize(
    "words", [["jobs", "list"], ["report", "job_1"], ["jobs", "list", "--json"]]
)
def test_an_unreachable_service_is_one_clear_message(words: list[str], folder: Path) -> None:
    done = alone(*words, STILLHOUSE_URL="http://127.0.0.1:9")
    assert done.returncode == 7
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    if "--json" in words:
        assert json.loads(done.stderr)["error"]["exit_code"] == 7
    else:
        assert "stillhouse doctor" in done.stderr


def test_a_download_goes_on_and_is_checked(
    stillhouse: Command, line: Line, job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_URL", line.url)
    line.spoil("GET", "/student", *[cut(500)] * 4)
    stillhouse("download", job.id)
    assert load_file("student.safetensors")
    assert line.asked("GET", "/student")[-1].headers["range"] == "bytes=2000-"

    Path("student.safetensors").write_bytes(b"mine")
    assert "--force" in stillhouse("download", job.id, code=2).err
    line.spoil("GET", "/student", changed)
    assert "Nothing was kept" in stillhouse("download", job.id, "--force", code=8).err
    assert [it.name for it in folder.iterdir()] == ["student.safetensors"]
    assert Path("student.safetensors").read_bytes() == b"mine"


def test_other_mistakes_are_told_apart(stillhouse: Command, folder: Path) -> None:
    assert "There is no teacher tch_none" in stillhouse("teachers", "show", "tch_none", code=5).err
    assert "no job with the id or name" in stillhouse("jobs", "show", "nothing", code=5).err
    assert "--network" in stillhouse("teachers", "add", "x.safetensors", code=2).err
    absent = stillhouse("teachers", "add", "x.safetensors", "--network", "{family: mlp}", code=2)
    assert "x.safetensors: No such file" in absent.err
    Path("junk.safetensors").write_bytes(b"not at all")
    junk = stillhouse("teachers", "add", "junk.safetensors", "--network", "{family: mlp}", code=3)
    assert "was rejected: The header claims" in junk.err
    odd = stillhouse("teachers", "add", "junk.safetensors", "--network", "{family: mpl}", code=2)
    assert "request req_" in odd.err
    assert "/network: there is no network 'mpl': " in odd.err
    assert "Did you mean mlp?" in odd.err
    assert "Missing argument" in alone("jobs", "show").stderr
    assert alone("jobs", "shwo").returncode == 2


@pytest.mark.slow
def test_serve_starts_the_service_that_is_installed_here(folder: Path) -> None:
    environment = {**os.environ, "STILLHOUSE_HOME": str(folder / "home"), "STILLHOUSE_PORT": "0"}
    serving = subprocess.Popen([*COMMAND, "serve"], env=environment, stdout=subprocess.PIPE)
    assert serving.stdout
    try:
        told = next(line for line in serving.stdout if b"ready at" in line)
        assert b"http://127.0.0.1:" in told
    finally:
        serving.send_signal(signal.SIGINT)
        serving.communicate(timeout=60)
    assert serving.returncode == 0
