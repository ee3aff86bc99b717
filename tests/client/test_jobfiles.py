"""Job files: mistakes are named by line and field, and files on this machine are sent."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stillhouse import Job, Stillhouse, Teacher
from stillhouse.cli.jobfile import JobFile, parsed, put, steps_of
from tests.acceptance.conftest import mlp
from tests.client.command import Command

JOB = """\
name: mine
dataset: {dataset}
teachers: [{teacher}]
student:
  network:
    family: mlp
    inputs: 64
    hidden: [8]
method:
  name: kd
  temperature: 4
training:
  epochs: 1
"""


@pytest.fixture
def written(digits: str, teacher: Teacher, folder: Path) -> Any:
    def write(old: str = "", new: str = "") -> Path:
        text = JOB.format(dataset=digits, teacher=teacher.id)
        assert old in text
        Path("job.yaml").write_text(text.replace(old, new) if old else text)
        return Path("job.yaml")

    return write


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  epochs: 1", "  epoch: 1", "job.yaml:13:3: training.epoch: there is no such field. "
         "Did you mean epochs?"),
        ("temperature", "temprature", "job.yaml:11:3: method.temprature: there is no such field. "
         "Did you mean temperature?"),
        ("    hidden: [8]", "    hiden: [8]", "Did you mean hidden?"),
        ("temperature: 4", "temperature: hot",
         "job.yaml:11:3: method.temperature: this must be a number."),
        ("epochs: 1", "epochs: many", "training.epochs: this must be a whole number."),
        ("epochs: 1", "epochs: 1.5", "training.epochs: this must be a whole number."),
        ("epochs: 1", "epochs: 1\n  optimizer: {name: adamm}",
         "training.optimizer: there is no optimizer 'adamm': sgd, adam, adamw. Did you mean adam?"),
        ("hidden: [8]", "hidden: 8", "this must be a list, such as [1, 2]."),
        ("hidden: [8]", "hidden: [0]", "this must be greater than or equal to 1"),
        ("training:\n  epochs: 1", "training: 3", "this must be fields with values"),
        ("hidden: [8]", "hidden: [8, 0]", "job.yaml:8:17: student.network.hidden.1: "),
        ("inputs: 64", "inputs: 63", "job.yaml:7:5: student.network.inputs: "),
        ("name: kd", "name: kdd", "job.yaml:9:1: method: "),
        ("family: mlp", "famly: mlp",
         "job.yaml:5:3: student.network: say which one with `family: ...`."),
        ("student:", "studnt:", "student: this field is missing."),
        ("  epochs: 1", "  epochs: 1\n  epochs: 2", "job.yaml:14:3: "),
        ("hidden: [8]", "hidden: [8", "job.yaml:9:7: expected ',' or ']'"),
        ("dataset: ", "dataset: x", "job.yaml:2:1: dataset: the file xdst_"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_line_and_field(
    stillhouse: Command, still: Stillhouse, written: Any, old: str, new: str, told: str
) -> None:
    before = [it.id for it in still.jobs.list()]
    done = stillhouse("jobs", "submit", written(old, new), code=2)
    assert told in done.err
    assert "| " in done.err or told.startswith("student")
    assert [it.id for it in still.jobs.list()] == before


def test_all_mistakes_are_told_at_once(stillhouse: Command, written: Any) -> None:
    done = stillhouse("jobs", "submit", written("epochs: 1", "epochs: -1\n  batch: 3"), code=2)
    assert "job.yaml:13:3: training.epochs: " in done.err
    assert "job.yaml:14:3: training.batch: there is no such field. Did you mean batch_size?" in (
        done.err
    )


def test_local_files_are_sent_once(
    stillhouse: Command, still: Stillhouse, teacher_job: Job, folder: Path
) -> None:
    (folder / "data").mkdir()
    rng = np.random.default_rng(0)
    x, y = rng.random((200, 64)), rng.integers(0, 10, 200)
    np.savez(folder / "data" / "mine.npz", x=x.astype(np.float32), y=y)
    teacher_job.download("teacher.safetensors")
    from safetensors.torch import load_file

    torch.save({"state_dict": load_file("teacher.safetensors"), "epoch": 3}, "data/teacher.pt")
    Path("data/network.json").write_text(teacher_job.download_artifact("network.json").read_text())
    Path("data/job.yaml").write_text(
        "dataset: mine.npz\n"
        "teachers:\n  - {file: teacher.pt, network: network.json}\n"
        f"student: {{network: {mlp(8)}}}\n"
        "training: {epochs: 1}\n"
    )
    made = stillhouse("jobs", "submit", "data/job.yaml", "--watch", "--label", "from=here")
    assert "converted data/teacher.pt to safetensors: 4 tensors, without epoch" in made.err or (
        "converted" in made.err
    )
    (job,) = still.jobs.list(labels={"from": "here"})
    teacher = still.teachers.get(job.spec["teachers"][0])
    assert (teacher.name, teacher.network["hidden"]) == ("teacher", [64])
    assert teacher.preprocess is not None
    dataset = still.datasets.get(job.spec["dataset"])
    assert (dataset.name, sum((dataset.rows or {}).values())) == ("mine", 200)

    counts = len(list(still.teachers.list())), len(list(still.datasets.list()))
    stillhouse("jobs", "submit", "data/job.yaml", "--quiet")
    assert (len(list(still.teachers.list())), len(list(still.datasets.list()))) == counts


def test_a_mistake_in_a_local_part_is_told_before_anything_is_sent(
    stillhouse: Command, folder: Path
) -> None:
    Path("t.safetensors").write_bytes(b"never sent")
    Path("d.npz").write_bytes(b"never sent")
    Path("job.yaml").write_text(
        "dataset:\n  source: {kind: file, file: d.npz}\n  lable: y\n"
        "teachers:\n"
        "  - file: t.safetensors\n    network: {family: mlp, inputs: 64, hidden: [8], class: 10}\n"
        "student: {network: {family: mlp, inputs: 64}}\n"
    )
    done = stillhouse("jobs", "submit", "job.yaml", code=2)
    assert (
        "job.yaml:6:53: teachers.0.network.class: there is no such field. Did you mean" in done.err
    )
    Path("job.yaml").write_text(Path("job.yaml").read_text().replace("class:", "classes:"))
    done = stillhouse("jobs", "submit", "job.yaml", code=2)
    assert "job.yaml:3:3: dataset.lable: there is no such field. Did you mean label?" in done.err
    Path("t.safetensors").unlink()
    done = stillhouse("jobs", "submit", "job.yaml", code=2)
    assert "job.yaml:5:5: teachers.0.file: the file t.safetensors is not there." in done.err


def test_all_mistakes_here_and_there_are_told_from_top_to_bottom(
    stillhouse: Command, still: Stillhouse, folder: Path
) -> None:
    Path("job.yaml").write_text(
        "method: {name: kd, temperature: -1, alpha: 2}\n"
        "dataset: absent.npz\n"
        "teachers:\n"
        "  - file: absent.pt\n    network: {family: mlp, inputs: 64, hiden: [8]}\n"
        "  - file: t.safetensors\n    network: absent.json\n"
        "  - job: absent\n"
        "student: {network: {family: mlp, inputs: 64}}\n"
    )
    done = stillhouse("jobs", "submit", "job.yaml", code=2)
    told = [
        "job.yaml:1:20: method.temperature: ",
        "job.yaml:1:37: method.alpha: ",
        "job.yaml:2:1: dataset: the file absent.npz is not there.",
        "job.yaml:4:5: teachers.0.file: the file absent.pt is not there.",
        "job.yaml:5:40: teachers.0.network.hiden: there is no such field. Did you mean hidden?",
        "job.yaml:6:5: teachers.1.file: the file t.safetensors is not there.",
        "job.yaml:7:5: teachers.1.network: the file absent.json is not there.",
        "job.yaml:8:5: teachers.2.job: There is no job with the id or name 'absent'.",
    ]
    places = [done.err.find(one) for one in told]
    assert -1 not in places, done.err
    assert places == sorted(places)


def test_nothing_is_sent_where_a_checkpoint_cannot_be(
    stillhouse: Command, still: Stillhouse, folder: Path
) -> None:
    np.savez("d.npz", x=np.zeros((9, 64), np.float32), y=np.zeros(9, np.int64))
    torch.save(torch.nn.Linear(2, 2), "module.pt")
    Path("job.yaml").write_text(
        "dataset: d.npz\n"
        "teachers:\n  - {file: module.pt, network: {family: mlp, inputs: 64}}\n"
        "student: {network: {family: mlp, inputs: 64}}\n"
    )
    before = len(list(still.datasets.list()))
    done = stillhouse("jobs", "submit", "job.yaml", code=2)
    assert "job.yaml:3:6: teachers.0.file: module.pt holds more than tensors" in done.err
    assert len(list(still.datasets.list())) == before


def test_a_job_file_that_is_not_there(stillhouse: Command, folder: Path) -> None:
    done = stillhouse("jobs", "submit", "job.yaml", code=2)
    assert "job.yaml: No such file or directory." in done.err
    assert "stillhouse init job.yaml" in done.err


class Payload:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("owned"),))


def test_no_code_of_a_checkpoint_is_run(stillhouse: Command, folder: Path) -> None:
    Path("evil.pt").write_bytes(pickle.dumps(Payload()))
    torch.save({"layers.0.weight": torch.zeros(2, 2), "x": Payload()}, "evil2.pt")
    torch.save(torch.nn.Linear(2, 2), "module.pt")
    Path("junk.pt").write_bytes(b"hello")
    with zipfile.ZipFile("program.pt", "w") as program:
        for part in ("data.pkl", "constants.pkl", "version", "code/__torch__.py"):
            program.writestr(f"program/{part}", "1\n")
    torch.save([torch.zeros(2)], "list.pt")
    told = {
        "evil.pt": "holds more than tensors. Nothing in it was run.",
        "evil2.pt": "would call getattr. Nothing in it was run.",
        "module.pt": "would call torch.nn.modules.linear.Linear. Nothing in it was run.",
        "junk.pt": "is no checkpoint that torch can read.",
        "program.pt": "is a TorchScript program",
        "list.pt": "holds a list, not a state dict.",
    }
    for name, words in told.items():
        done = stillhouse("teachers", "add", name, "--network", "{family: mlp}", code=2)
        assert f"stillhouse: {name} {words}" in done.err or words in done.err
        assert "torch.save(model.state_dict(), " in done.err
        # torch's own words: in colours, and with the advice to run what is in the file.
        assert not any(word in done.err for word in ("\x1b", "weights_only", "Warning"))
    assert not Path("owned").exists()


def test_a_teacher_from_a_pt_file(
    stillhouse: Command, still: Stillhouse, teacher_job: Job, folder: Path
) -> None:
    from safetensors.torch import load_file

    state = load_file(teacher_job.download("t.safetensors"))
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, "parallel.pt")
    made = stillhouse(
        "teachers", "add", "parallel.pt", "--name", "of pt", "--network", str(mlp(64)), "--json"
    )
    assert made.json["state"] == "ready"
    stillhouse("teachers", "rm", made.json["id"])


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_tensors_of_a_sequential_are_renamed(
    stillhouse: Command, teacher_job: Job, folder: Path, kind: str
) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(teacher_job.download("t.safetensors"))
    names = {"layers.0.": "0.", "layers.1.": "3."}
    plain = {names[name[:9]] + name[9:]: tensor for name, tensor in state.items()}
    path = f"plain {kind}.{kind}"
    torch.save(plain, path) if kind == "pt" else save_file(plain, path)
    preprocess = ("--scale", "1/16", "--mean", "0.3", "--std", "0.4")
    add = ("teachers", "add", path, "--network", str(mlp(64)), *preprocess, "--json")
    refused = stillhouse(*add, code=3).err
    assert "The checkpoint has '0.bias' [64]" in refused
    assert "--rename OLD=NEW" in refused
    assert "layers.0.weight" in stillhouse("networks", "mlp").out
    idle = stillhouse(*add, "--rename", "7.=layers.0.", code=2).err
    assert "No tensor's name begins with '7.'. The file has 0.bias" in idle
    assert "Two tensors" in stillhouse(*add, "--rename", "0.=3.", code=2).err
    made = stillhouse(*add, "--rename", "0.=layers.0.", "--rename", "3.=layers.1.").json
    assert made["state"] == "ready"
    assert made["preprocess"] == {"scale": 1 / 16, "mean": [0.3], "std": [0.4]}
    stillhouse("teachers", "rm", made["id"])


@pytest.mark.parametrize(
    ("rename", "told"),
    [
        ('{"0.": layers.0., "3.": layers.1.}', None),
        ("{0.: layers.0.}", "a name that looks like a number must be in quotes"),
        ('{"0.": 1}', "teachers.0.rename: rename is beginnings of names in quotes"),
        ("[0, 3]", "teachers.0.rename: rename is beginnings of names in quotes"),
        ('{"7.": layers.0.}', "No tensor's name begins with '7.'. The file has 0.bias"),
    ],
)
def test_a_job_file_renames_tensors(
    stillhouse: Command,
    teacher_job: Job,
    written: Any,
    teacher: Teacher,
    rename: str,
    told: str | None,
) -> None:
    from safetensors.torch import load_file

    state = load_file(teacher_job.download("t.safetensors"))
    names = {"layers.0.": "0.", "layers.1.": "3."}
    torch.save({names[name[:9]] + name[9:]: tensor for name, tensor in state.items()}, "seq.pt")
    # The same file stays a teacher of its own: another normalisation.
    own = f"{{file: seq.pt, rename: {rename}, network: {mlp(64)}, name: renamed, "
    own += "preprocess: {scale: 0.5, mean: [0.0], std: [1.0]}}"
    file = written(f"[{teacher.id}]", f"[{own}]")
    if told is not None:
        assert told in stillhouse("jobs", "submit", str(file), code=2).err
        return
    job = stillhouse("jobs", "submit", str(file), "--json").json
    made = stillhouse("teachers", "show", "renamed", "--json").json
    assert (made["id"], made["state"]) == (job["spec"]["teachers"][0], "ready")
    stillhouse("jobs", "cancel", job["id"])


def test_only_tensors_of_a_file_here_are_renamed(
    stillhouse: Command, written: Any, teacher: Teacher
) -> None:
    file = written(f"[{teacher.id}]", '[{job: job_1, rename: {"0.": layers.0.}}]')
    said = stillhouse("jobs", "submit", str(file), code=2).err
    assert "teachers.0.rename: rename is for the tensors of a file on this machine." in said


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--scale", "1"), "--mean and --std is missing"),
        (("--scale", "1", "--mean", "0,0", "--std", "1"), "--mean has 2 values, --std 1"),
        (("--scale", "1/0", "--mean", "0", "--std", "1"), "--scale is numbers by commas"),
        (("--scale", "1,2", "--mean", "0", "--std", "1"), "--scale is one number"),
        (("--scale", "1", "--mean", "0", "--std", "0"), "--std divides"),
    ],
)
def test_a_normalisation_is_whole(
    stillhouse: Command, folder: Path, given: tuple[str, ...], told: str
) -> None:
    network = ("--network", "{family: mlp, inputs: 64}")
    assert told in stillhouse("teachers", "add", "t.safetensors", *network, *given, code=2).err


def test_numbers_are_read_as_yaml_1_2_writes_them() -> None:
    assert parsed("[1e-3, 0x10, 3, no, true, null]") == [0.001, 16, 3, "no", True, None]


def test_fields_are_put_by_dotted_names() -> None:
    document: dict[str, Any] = {"a": {"b": 1}, "c": 2}
    put(document, {"a.d": 3, "e.f": 4})
    assert document == {"a": {"b": 1, "d": 3}, "c": 2, "e": {"f": 4}}


def test_places_of_fields(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("a:\n  - b: 1\n  - c~d: 2\n")
    file = JobFile.read(path)
    assert file.where(("a", 0, "b")) == (2, 5)
    assert file.where(("a", 1, "x")) == (3, 5)
    assert file.where(("x",)) == (1, 1)
    assert steps_of("/a/1/c~0d") == ("a", 1, "c~d")
