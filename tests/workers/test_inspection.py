"""Teachers and datasets on the inspector's table: with the real trainer, and with dying ones."""

import io
import threading
from dataclasses import replace
from ipaddress import ip_network

import numpy as np
import pytest
from safetensors.numpy import save

from app.ids import new_id
from app.sources.policy import Entry, Policy
from app.spec.knowledge import Knowledge
from app.tables import DEFAULT_PROJECT, Dataset, Evaluation, File, KnowledgeReport, Teacher
from tests.workers.fakes import fake_trainer
from tests.workers.rows import add_file
from tests.workers.webs import give, web
from workers.fetch import Fetcher
from workers.inspection import Inspector
from workers.processes import Spawner, Trainer, trainer_environment
from workers.standby import Standby
from workers.verdicts import Bytes, Verdicts

NETWORK = {"family": "mlp", "inputs": 4, "hidden": [3], "classes": 2}


class Table:
    """An inspector and its rows; `body` makes its trainers fake ones."""

    def __init__(self, settings, database, storage) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        self.settings, self.database, self.storage = settings, database, storage
        self.spawner = Spawner()
        self.shutdown = threading.Event()

    def inspector(
        self, body: str | None = None, limit_s: float = 60, fetcher: Fetcher | None = None
    ) -> Inspector:
        environment = trainer_environment(self.settings.home)

        def spawn() -> Trainer:
            if body is None:
                return Trainer(self.spawner, environment)
            return fake_trainer(self.spawner, self.settings.home, body)

        return Inspector(
            verdicts=Verdicts(self.database),
            storage=self.storage,
            standby=Standby(spawn, size=0),
            settings=self.settings,
            shutdown=self.shutdown,
            limit_s=limit_s,
            fetcher=fetcher,
        )

    def upload(self, filename: str, content: bytes) -> str:
        with self.storage.writer() as writer:
            writer.write(content)
            sha256, size = writer.commit()
        return add_file(self.database, filename, sha256, size)

    def teacher(self, filename: str, content: bytes) -> str:
        file_id = self.upload(filename, content)
        identity = new_id("tch")
        with self.database.transaction() as session:
            sha256 = session.get_one(File, file_id).sha256
            session.add(
                Teacher(
                    id=identity,
                    project_id=DEFAULT_PROJECT,
                    name="t",
                    file_id=file_id,
                    network=NETWORK,
                    sha256=sha256,
                )
            )
        return identity

    def dataset(self, source) -> str:
        identity = new_id("dst")
        spec = {"name": "d", "source": source}
        with self.database.transaction() as session:
            session.add(Dataset(id=identity, project_id=DEFAULT_PROJECT, name="d", spec=spec))
        return identity

    def evaluation(self, content: bytes, archive: bytes, **values) -> str:
        """Of those weights on a dataset that was prepared here."""
        dataset_id = self.dataset({"kind": "file", "file": self.upload("d.npz", archive)})
        self.inspector().dataset(dataset_id)
        with self.storage.writer() as writer:
            writer.write(content)
            sha256, size = writer.commit()
        add_file(self.database, "w.safetensors", sha256, size)
        row = {"network": NETWORK, "split": "test", "sha256": sha256, "key": "0", **values}
        identity = new_id("evl")
        with self.database.transaction() as session:
            session.add(
                Evaluation(id=identity, project_id=DEFAULT_PROJECT, dataset_id=dataset_id, **row)
            )
        return identity

    def report(self, dataset_id: str, teacher_id: str | None) -> str:
        identity = new_id("rep")
        with self.database.transaction() as session:
            session.add(
                KnowledgeReport(
                    id=identity,
                    project_id=DEFAULT_PROJECT,
                    subject=teacher_id or dataset_id,
                    teacher_id=teacher_id,
                    dataset_id=dataset_id,
                    key="k",
                )
            )
        return identity

    def row(self, table, identity: str):
        with self.database.reading() as session:
            return session.get_one(table, identity)


@pytest.fixture
def table(settings, database, storage):
    table = Table(settings, database, storage)
    yield table
    assert not list((settings.home / "runs").glob("*_*")), "a folder was left behind"
    table.spawner.close()


def weights(**changed) -> bytes:
    tensors = {
        "layers.0.weight": np.ones((3, 4), np.float32),
        "layers.0.bias": np.ones(3, np.float32),
        "layers.1.weight": np.ones((2, 3), np.float32),
        "layers.1.bias": np.ones(2, np.float32),
    }
    return save(tensors | changed)


def npz(**more) -> bytes:
    buffer = io.BytesIO()
    x = np.arange(160, dtype=np.float32).reshape(40, 4)
    y = np.arange(40) % 2
    np.savez(buffer, x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:], **more)
    return buffer.getvalue()


def test_a_good_teacher_becomes_ready(table):
    teacher_id = table.teacher("teacher.safetensors", weights())
    table.inspector().teacher(teacher_id)
    row = table.row(Teacher, teacher_id)
    assert row.state == "ready", row.error
    assert row.facts["parameters"] == 3 * 4 + 3 + 2 * 3 + 2


def test_a_teacher_unlike_its_network_is_rejected(table):
    content = weights(**{"layers.0.weight": np.ones((3, 5), np.float32)})
    teacher_id = table.teacher("teacher.safetensors", content)
    table.inspector().teacher(teacher_id)
    row = table.row(Teacher, teacher_id)
    assert (row.state, row.error["status"]) == ("rejected", 422)
    assert "layers.0.weight" in row.error["detail"]


def test_a_good_dataset_becomes_ready_and_is_kept_prepared(table):
    file_id = table.upload("d.npz", npz())
    dataset_id = table.dataset({"kind": "file", "file": file_id})
    table.inspector().dataset(dataset_id)
    row = table.row(Dataset, dataset_id)
    assert row.state == "ready", row.error
    assert row.facts["rows"]["test"] == 10
    assert table.storage.exists(row.sha256)


def test_a_dataset_in_files_by_split(table):
    content = b"a,b,label\n" + b"1,2.5,0\n2,3.5,1\n" * 20
    files = {split: [table.upload("d.csv", content)] for split in ("train", "test")}
    dataset_id = table.dataset({"kind": "file", "files": files})
    table.inspector().dataset(dataset_id)
    row = table.row(Dataset, dataset_id)
    assert row.state == "ready", row.error
    assert row.facts["rows"]["test"] == 40


def test_nothing_is_inspected_twice(table):
    dataset_id = table.dataset({"kind": "builtin", "name": "digits"})
    table.inspector("events.send('failed', problem={'detail': 'no', 'status': 422})").dataset(
        dataset_id
    )
    first = table.row(Dataset, dataset_id)
    table.inspector("events.send('inspected', facts={})").dataset(dataset_id)
    again = table.row(Dataset, dataset_id)
    assert first.state == again.state == "rejected"
    table.inspector("").dataset("dst_none")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "inspection_died"),
        ("sys.exit(1)", "inspection_died"),
        ("os.write(events._file.fileno(), b'nonsense\\n')", "inspection_died"),
        ("time.sleep(60)", "inspection_timeout"),
    ],
)
def test_a_file_that_kills_its_inspector_is_rejected(table, body, code):
    dataset_id = table.dataset({"kind": "builtin", "name": "digits"})
    table.inspector(body, limit_s=1.0).dataset(dataset_id)
    row = table.row(Dataset, dataset_id)
    assert (row.state, row.error["code"]) == ("rejected", code)
    assert "Traceback" not in row.error["detail"]


def test_a_shutdown_leaves_the_resource_to_others(table):
    dataset_id = table.dataset({"kind": "builtin", "name": "digits"})
    table.shutdown.set()
    table.inspector("time.sleep(60)").dataset(dataset_id)
    assert table.row(Dataset, dataset_id).state == "checking"


@pytest.mark.parametrize(
    ("filename", "suffix"),
    [
        ("a.npz", ".npz"),
        ("a.CSV", ".csv"),
        ("../../x", ""),
        ("a.b/c", ""),
        ("a.\u00e9", ""),
        (".", ""),
    ],
)
def test_of_a_clients_file_name_only_a_plain_suffix_reaches_a_path(filename, suffix):
    assert Bytes(filename, "0").suffix == suffix


def from_web(table, content, tmp_path, sha256=None):
    """A dataset whose uri a real server answers, inspected by the real trainer."""
    policy = Policy((Entry.read("http://*"),), (ip_network("127.0.0.2/32"),))
    with web("127.0.0.2", give(content)) as server:
        policy = replace(policy, entries=(Entry.read(f"http://*:{server.port}"),))
        fetcher = Fetcher(policy, max_bytes=10**6, resolve=lambda *_: ["127.0.0.2"])
        uri = f"http://data.example.org:{server.port}/a.npz"
        dataset_id = table.dataset({"kind": "uri", "uri": uri, "sha256": sha256})
        table.inspector(fetcher=fetcher).dataset(dataset_id)
    return table.row(Dataset, dataset_id)


def test_a_dataset_by_uri(table, tmp_path):
    row = from_web(table, npz(), tmp_path)
    assert row.state == "ready", row.error
    assert row.facts["rows"]["test"] == 10
    assert table.storage.exists(row.sha256)
    again = from_web(table, npz(), tmp_path, sha256=row.facts["source_sha256"])
    assert again.state == "ready"


def test_a_bad_uri_is_rejected_with_its_problem(table, tmp_path):
    wrong = from_web(table, npz(), tmp_path, sha256="0" * 64)
    assert (wrong.state, wrong.error["code"]) == ("rejected", "checksum_mismatch")
    large = from_web(table, bytes(10**6 + 1), tmp_path)
    assert (large.state, large.error["code"]) == ("rejected", "source_too_large")
    assert large.error["status"] == 413
    pickled = from_web(table, b"\x80\x04K\x01.", tmp_path)
    assert (pickled.state, pickled.error["status"]) == ("rejected", 415)
    dataset_id = table.dataset({"kind": "uri", "uri": "http://127.0.0.1/x"})
    table.inspector().dataset(dataset_id)
    inner = table.row(Dataset, dataset_id)
    assert (inner.state, inner.error["code"]) == ("rejected", "forbidden_address")


def test_a_uri_that_nobody_answers_may_be_tried_again(table, monkeypatch):
    monkeypatch.setattr("workers.fetch.PAUSES_S", (0.01,))
    policy = Policy((Entry.read("http://*:9"),), (ip_network("127.0.0.2/32"),))
    fetcher = Fetcher(policy, max_bytes=10**6, resolve=lambda *_: ["127.0.0.2"])
    dataset_id = table.dataset({"kind": "uri", "uri": "http://data.example.org:9/x"})
    table.inspector(fetcher=fetcher).dataset(dataset_id)
    row = table.row(Dataset, dataset_id)
    assert (row.state, row.error["code"]) == ("rejected", "source_unreachable")
    assert row.error["retryable"] is True


def test_a_network_is_evaluated(table):
    """Equal logits: the first class is answered always, with a confidence of one half."""
    evaluation_id = table.evaluation(weights(), npz())
    table.inspector().evaluation(evaluation_id)
    row = table.row(Evaluation, evaluation_id)
    assert row.state == "succeeded", row.error
    assert row.finished_at >= row.created_at
    result = row.result
    assert (result["accuracy"], result["examples"], result["errors"]) == (0.5, 10, 5)
    assert result["nll"] == pytest.approx(np.log(2))
    assert result["ece"] == pytest.approx(0, abs=1e-6)
    assert result["confusions"] == [{"label": 1, "predicted": 0, "examples": 5}]
    table.inspector("events.send('inspected', facts={})").evaluation(evaluation_id)
    assert table.row(Evaluation, evaluation_id).result == result, "done is done"
    table.inspector("").evaluation("evl_none")


def test_an_evaluation_that_kills_its_process_has_failed(table):
    evaluation_id = table.evaluation(weights(), npz())
    table.inspector("os.kill(os.getpid(), signal.SIGSEGV)").evaluation(evaluation_id)
    row = table.row(Evaluation, evaluation_id)
    assert (row.state, row.error["code"]) == ("failed", "inspection_died")
    assert row.finished_at is not None


def test_weights_that_are_not_the_networks_fail(table):
    evaluation_id = table.evaluation(weights(), npz(), network={**NETWORK, "hidden": [5]})
    table.inspector().evaluation(evaluation_id)
    row = table.row(Evaluation, evaluation_id)
    assert row.state == "failed"
    assert "layers.0.bias" in row.error["detail"]


def test_an_evaluation_that_is_deleted_meanwhile_leaves_nothing(table):
    evaluation_id = table.evaluation(weights(), npz())
    inspector = table.inspector()
    ask = inspector._examiner.ask

    def deleted_first(order):
        with table.database.transaction() as session:
            session.delete(session.get_one(Evaluation, evaluation_id))
        return ask(order)

    inspector._examiner.ask = deleted_first
    inspector.evaluation(evaluation_id)
    with table.database.reading() as session:
        assert session.get(Evaluation, evaluation_id) is None


@pytest.fixture
def described(table):
    """A teacher and a data set that are ready."""
    teacher_id = table.teacher("teacher.safetensors", weights())
    dataset_id = table.dataset({"kind": "file", "file": table.upload("d.npz", npz())})
    table.inspector().teacher(teacher_id)
    table.inspector().dataset(dataset_id)
    return dataset_id, teacher_id


def told(table, report_id: str) -> Knowledge:
    row = table.row(KnowledgeReport, report_id)
    assert row.state == "ready", row.error
    return Knowledge.model_validate_json(b"".join(table.storage.read(row.sha256)))


def test_a_report_is_made_and_kept(table, described):
    report_id = table.report(*described)
    table.inspector().report(report_id)
    known = told(table, report_id)
    assert (known.classes, known.split, known.examples) == (2, "train", 27)
    assert known.calibration.split == "test"
    # All weights are one, so that both classes have the same logits.
    assert known.softness[0].off_target == pytest.approx(0.5)
    assert known.softness[0].entropy_share == pytest.approx(1)


def test_a_report_of_recorded_outputs(table):
    outputs = np.tile(np.array([[2.0, 0.0]], np.float32), (30, 1))
    file_id = table.upload("d.npz", npz(teacher_logits_train=outputs))
    dataset_id = table.dataset({"kind": "file", "file": file_id})
    table.inspector().dataset(dataset_id)
    report_id = table.report(dataset_id, None)
    table.inspector().report(report_id)
    known = told(table, report_id)
    sure = 1 / (1 + np.exp(-2.0))
    entropy = -sure * np.log(sure) - (1 - sure) * np.log(1 - sure)
    assert known.softness[0].entropy == pytest.approx(entropy, rel=1e-6)
    assert known.calibration.split == "validation"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "inspection_died"),
        ("time.sleep(60)", "inspection_timeout"),
        (
            "events.send('failed', problem={'detail': 'no', 'status': 422, 'code': 'wrong'})",
            "wrong",
        ),
    ],
)
def test_a_report_that_comes_to_nothing_says_why(table, described, body, code):
    report_id = table.report(*described)
    table.inspector(body, limit_s=1.0).report(report_id)
    row = table.row(KnowledgeReport, report_id)
    assert (row.state, row.error["code"], row.sha256) == ("rejected", code, None)
    assert row.changed_at > row.created_at


def test_no_report_is_made_twice_or_for_nobody(table, described):
    report_id = table.report(*described)
    table.inspector().report(report_id)
    before = table.row(KnowledgeReport, report_id)
    table.inspector("sys.exit(1)").report(report_id)
    assert table.row(KnowledgeReport, report_id).sha256 == before.sha256
    table.inspector("sys.exit(1)").report("rep_none")
    other = table.report(described[0], None)
    table.shutdown.set()
    table.inspector("time.sleep(60)").report(other)
    assert table.row(KnowledgeReport, other).state == "checking"


def test_a_teacher_that_goes_while_it_is_described_leaves_nothing(table, described):
    report_id = table.report(*described)
    inspector = table.inspector()
    settle = inspector._verdicts.report_ready

    def late(*args, **kwargs):
        with table.database.transaction() as session:
            session.delete(session.get_one(Teacher, described[1]))
        settle(*args, **kwargs)

    inspector._verdicts.report_ready = late
    inspector.report(report_id)
    with table.database.reading() as session:
        assert session.get(KnowledgeReport, report_id) is None
